"""What a follower is given: an event at its position."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Publication:
    """One event at its position in the stream, by which what comes after it is recovered."""

    position: str
    event: dict[str, Any]
    """`id`, `type`, `source`, `time`, `subject`, `project`, `operation`, `data`."""
