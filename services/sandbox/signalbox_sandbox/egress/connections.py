"""One connection that came out of a sandbox, from its acceptance to its end."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any

from signalbox_common import background

_PIECE = 64 * 1024
_LINGER, _ANSWERED_WITHIN = 30.0, 3600.0
"""Seconds that one direction may go on when the other one has ended."""


class Verdict(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"
    """It was allowed, and could not be reached."""
    CUT = "cut"
    """It was allowed, and is no more."""


class Streams:
    """Both ends of a connection, as they are read and written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @staticmethod
    async def of(connection: socket.socket) -> "Streams":
        return Streams(*await asyncio.open_connection(sock=connection, limit=_PIECE))

    async def send(self, data: bytes) -> None:
        """No faster than it is taken."""
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        with suppress(OSError):
            self.writer.close()
            await self.writer.wait_closed()


class Traffic:
    """What is told of a connection."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        """`network`, or the name of a door."""
        self.host = ""
        self.port = 0
        self.verdict = Verdict.DENIED
        self.is_served = False
        self.reason = ""
        self.sent = 0
        """Bytes that went out."""
        self.received = 0
        self._began = time.monotonic()

    def judged(self, verdict: Verdict, reason: str = "") -> None:
        self.verdict, self.reason = verdict, reason

    def count_sent(self, size: int) -> None:
        self.sent += size

    def count_received(self, size: int) -> None:
        self.received += size

    def described(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "host": self.host,
            "port": self.port,
            "verdict": self.verdict,
            "reason": self.reason,
            "sent": self.sent,
            "received": self.received,
            "seconds": round(time.monotonic() - self._began, 3),
        }


async def relay(inner: Streams, outer: Streams, traffic: Traffic) -> None:
    """Until both have said all; one that has ended is told to the other."""
    out = asyncio.create_task(_copy(inner, outer, traffic.count_sent))
    back = asyncio.create_task(_copy(outer, inner, traffic.count_received))
    try:
        await asyncio.wait([out, back], return_when=asyncio.FIRST_COMPLETED)
        # A client that has said all may wait long for its answer; a server that has is hardly waited for.
        await asyncio.wait([out, back], timeout=_LINGER if back.done() else _ANSWERED_WITHIN)
    finally:
        await background.end(out, back)


async def _copy(source: Streams, target: Streams, count: Callable[[int], None]) -> None:
    try:
        while data := await source.reader.read(_PIECE):
            await target.send(data)
            count(len(data))
        if target.writer.can_write_eof():
            target.writer.write_eof()
    except OSError:
        source.abort()
        target.abort()
