"""What a keeper and its service say to each other: lines of JSON, and frames of output."""

import json
import struct
from enum import IntEnum
from typing import Any, NamedTuple

HEADER = struct.Struct("!BQI")
"""Of a frame: what it is, the offset of its first byte, and how many bytes follow."""
LONGEST_LINE = 1024 * 1024


class Kind(IntEnum):
    STDOUT = 1
    STDERR = 2
    PTY = 3
    GAP = 4
    """Bytes that are not kept any more; how many, as a number of eight bytes, is what follows."""
    END = 5
    """The process has ended, and this is all; JSON follows."""


class Frame(NamedTuple):
    kind: Kind
    offset: int
    content: bytes

    def encode(self) -> bytes:
        return HEADER.pack(self.kind, self.offset, len(self.content)) + self.content


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
