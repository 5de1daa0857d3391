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


class FrameReader:
    """Bytes as they come in, frames out."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._rest += data
        found, at = [], 0
        while len(self._rest) - at >= HEADER.size:
            kind, offset, length = HEADER.unpack_from(self._rest, at)
            begin = at + HEADER.size
            if len(self._rest) < begin + length:
                break
            at = begin + length
            found.append(Frame(Kind(kind), offset, bytes(self._rest[begin:at])))
        del self._rest[:at]
        return found


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
