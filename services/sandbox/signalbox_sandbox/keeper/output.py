"""What one process has said: the newest of it, addressed by offset, for any number of readers."""

from bisect import bisect_right
from collections.abc import Callable

from signalbox_sandbox.keeper.wire import Frame, Kind

KEPT = 8 * 1024 * 1024
MOST_KEPT = 64 * 1024 * 1024
"""Of all processes of a sandbox."""
_CHUNK = 64 * 1024
"""Bytes of one stream that lie together."""
_SLACK = 16
"""This part of what is kept goes at once, so that not every byte moves all others."""


class _Chunk:
    __slots__ = ("content", "kind", "offset")

    def __init__(self, kind: Kind, offset: int, content: bytearray) -> None:
        self.kind = kind
        self.offset = offset
        self.content = content

    @property
    def end(self) -> int:
        return self.offset + len(self.content)


class Budget:
    """The bytes that all outputs of a sandbox may hold together."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.most = most
        self.used = 0

    @property
    def left(self) -> int:
        return max(0, self.most - self.used)


class Output:
    """Bytes of all its streams under one count; with `hold`, nothing goes before it was confirmed."""

    def __init__(self, *, hold: bool = False, kept: int = KEPT, budget: Budget | None = None) -> None:
        self.hold = hold
        self._budget = budget or Budget()
        self.begin = self.end = self.confirmed = 0
        self.readers: set[Callable[[], None]] = set()
        """Called whenever there is more."""
        self._kept = kept
        self._chunks: list[_Chunk] = []
        self._last: bytes | None = None

    @property
    def room(self) -> int:
        """Bytes that may be added: where there are none, nobody reads, and the program waits."""
        if not self.hold:
            return self._kept
        return max(0, min(self._kept - (self.end - self.confirmed), self._budget.left))

    @property
    def releasable(self) -> int:
        """Bytes that may go before their time, where others need the room."""
        return (min(self.confirmed, self.end) if self.hold else self.end) - self.begin

    def release(self, most: int) -> None:
        """The oldest of them, in whole chunks: no more than that, unless the first chunk is more."""
        gone = 0
        while gone < len(self._chunks) and self._chunks[gone].end - self.begin <= self.releasable:
            gone += 1
            if self._chunks[gone - 1].end - self.begin >= most:
                break
        self._drop(gone)

    @property
    def ended(self) -> bool:
        return self._last is not None

    def add(self, kind: Kind, content: bytes) -> None:
        last = self._chunks[-1] if self._chunks else None
        if last is not None and last.kind is kind and len(last.content) + len(content) <= _CHUNK:
            last.content += content
        else:
            self._chunks.append(_Chunk(kind, self.end, bytearray(content)))
        self.end += len(content)
        self._budget.used += len(content)
        if self.end - self.begin > self._kept + self._kept // _SLACK:
            self._let_go()
        self._tell()

    def finish(self, said: bytes) -> None:
        self._last = said
        self._tell()

    def confirm(self, offset: int) -> None:
        """Somebody has all before it; this does not go back."""
        self.confirmed = max(self.confirmed, min(offset, self.end))

    def after(self, offset: int) -> Frame | None:
        """What comes next there; what is not kept any more is one gap, and None is to come."""
        if offset < self.begin:
            return Frame(Kind.GAP, offset, (self.begin - offset).to_bytes(8, "big"))
        if offset < self.end:
            chunk = self._chunks[bisect_right(self._chunks, offset, key=lambda chunk: chunk.offset) - 1]
            return Frame(chunk.kind, offset, bytes(memoryview(chunk.content)[offset - chunk.offset :]))
        return Frame(Kind.END, self.end, self._last) if self._last is not None else None

    def _let_go(self) -> None:
        """Whole chunks, the oldest first; with `hold` these were confirmed: `room` lets in no more."""
        gone = 0
        while gone < len(self._chunks) and self.end - self._chunks[gone].end >= self._kept:
            gone += 1
        self._drop(gone)

    def _drop(self, chunks: int) -> None:
        if chunks:
            begin = self._chunks[chunks - 1].end
            self._budget.used -= begin - self.begin
            self.begin = begin
            del self._chunks[:chunks]

    def forget(self) -> None:
        """Nobody asks for it any more."""
        self._budget.used -= self.end - self.begin
        self._chunks.clear()
        self.begin = self.end

    def _tell(self) -> None:
        for reader in tuple(self.readers):
            reader()


def following(frame: Frame) -> int:
    """The offset behind a frame."""
    if frame.kind is Kind.GAP:
        return frame.offset + int.from_bytes(frame.content, "big")
    return frame.offset if frame.kind is Kind.END else frame.offset + len(frame.content)
