"""What a follower is given."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One event, and where it is in the stream: what comes after it is asked for with that."""

    position: str
    event: dict[str, Any]
    """`id`, `type`, `source`, `time`, `subject`, `project`, `operation`, `data`."""
