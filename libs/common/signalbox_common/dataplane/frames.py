"""What a process says, in frames: which stream, the offset of the first byte, and the bytes."""

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("!BQI")
"""What it is, the offset of its first byte, and how many bytes follow."""


class FrameKind(IntEnum):
    STDOUT = 1
    STDERR = 2
    PTY = 3
    GAP = 4
    """Bytes that are not kept any more; how many, as a number of eight bytes, is what follows."""
    END = 5
    """The process has ended, and this is all; JSON follows."""


class Frame(NamedTuple):
    kind: FrameKind
    offset: int
    content: bytes

    @property
    def following(self) -> int:
        """The offset behind it."""
        if self.kind is FrameKind.GAP:
            return self.offset + int.from_bytes(self.content, "big")
        return self.offset if self.kind is FrameKind.END else self.offset + len(self.content)


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
            found.append(Frame(FrameKind(kind), offset, bytes(self._rest[begin:at])))
        del self._rest[:at]
        return found
