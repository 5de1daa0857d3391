"""One event on its way out, encoded once for everybody who gets it."""

import json
from collections.abc import Sequence
from functools import cached_property

from signalbox_gateway.live.events import matches
from signalbox_gateway.live.offsets import Offset

_SHORT, _MIDDLE = 126, 1 << 16
_FRAMES = 4
"""For as many names of subscriptions an event stays encoded."""


class Told:
    """An event of one channel, as it leaves."""

    def __init__(self, offset: Offset, channel: str, type_: str, text: bytes) -> None:
        self.offset = offset
        self.sequence = offset.sequence
        self.channel = channel
        self.type = type_
        self.text = text
        self._frames: dict[str, bytes] = {}

    @cached_property
    def lines(self) -> bytes:
        """As a server-sent event."""
        return b"event: %b\nid: %b\ndata: %b\n\n" % (
            self.type.encode(),
            str(self.offset).encode(),
            self.text,
        )

    @cached_property
    def chunk(self) -> bytes:
        return chunked(self.lines)

    def frame(self, ref: str) -> bytes:
        """As a message of a WebSocket, for the subscription of that name."""
        made = self._frames.get(ref)
        if made is None:
            head = json.dumps({"type": "event", "ref": ref, "id": str(self.offset)}, separators=(",", ":"))
            made = framed(head[:-1].encode() + b',"event":' + self.text + b"}")
            if len(self._frames) < _FRAMES:  # clients name them as they like
                self._frames[ref] = made
        return made

    def is_of(self, types: Sequence[str]) -> bool:
        return matches(self.type, types)


def resync(at: Offset, after: Offset | None, reason: str) -> dict[str, str | None]:
    """What is said where events are left out: they come `after` one place, and what is told goes on at `at`.

    Without a place to begin at, nothing of what was before is known any more.
    """
    return {"at": str(at), "after": str(after) if after is not None else None, "reason": reason}


def chunked(data: bytes) -> bytes:
    """As a chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def framed(text: bytes) -> bytes:
    """As a text frame of a server (RFC 6455)."""
    size = len(text)
    if size < _SHORT:
        return b"\x81" + size.to_bytes(1, "big") + text
    if size < _MIDDLE:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text
