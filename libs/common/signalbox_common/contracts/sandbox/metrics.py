"""What a sandbox uses."""

from datetime import datetime

from signalbox_common.contracts.base import Message, Reply
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import data_route
from signalbox_common.contracts.sandbox.programs import EXECUTE


class NetworkTotals(Message):
    """Since it began, or the role of its node that reaches the network."""

    connections: int
    denied: int
    sent_bytes: int
    received_bytes: int


class SandboxMetrics(Reply):
    at: datetime
    cpu_seconds: float
    """Of all that has run in it."""
    memory_bytes: int
    """That its programs have for themselves, with what lies in `/tmp` and `/dev/shm`."""
    disk_bytes: int
    """As it was counted last, a second or two ago where something runs."""
    disk_entries: int
    processes: int
    network: NetworkTotals


MEASURE = data_route("GET", "/sandboxes/{sandbox}/metrics", EXECUTE, ProjectRole.VIEWER)
