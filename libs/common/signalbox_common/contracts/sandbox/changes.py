"""What a sandbox has changed of its checkout."""

from signalbox_common.contracts.base import Message, Reply
from signalbox_common.contracts.sandbox.base import data_route


class Freeze(Message):
    kill: bool = False
    """Whether all programs end; where they cannot be held otherwise they do all the same."""


class Frozen(Reply):
    killed: bool
    """Whether its programs were ended."""


FREEZE = data_route("POST", "/sandboxes/{sandbox}/freeze", "sandbox.export")
THAW = data_route("POST", "/sandboxes/{sandbox}/thaw", "sandbox.export")
READ_CHANGES = data_route("GET", "/sandboxes/{sandbox}/changes", "sandbox.export")
WRITE_CHANGES = data_route("PUT", "/sandboxes/{sandbox}/changes", "sandbox.import")
