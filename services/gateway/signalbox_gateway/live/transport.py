"""The transport of one client: written to beside the server that its socket belongs to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

TRANSPORT = "signalbox.transport"
"""The extension of a request's scope that holds it."""
MAX_BUFFERED = 512 * 1024
"""Bytes that may wait for one client: who is slower than that is disconnected, not waited for."""
CLOSE_WITHIN = 5.0
_KEPT = frozenset({"type", "method"})
"""Of a scope, what the server still asks for."""
_SHORT, _MIDDLE = 126, 1 << 16


class Transport:
    """One client's socket."""

    __slots__ = ("_socket", "continuation", "on_lost", "on_shutdown", "write")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.write: Callable[[bytes], None] = socket.write
        """Never waits, and writes to nobody once the client is gone."""
        self.on_lost: Callable[[], None] | None = None
        self.on_shutdown: Callable[[], None] | None = None
        self.continuation: Callable[[Receive, Send], Awaitable[None]] | None = None
        """How it goes on when the app is through with the request."""

    @property
    def is_slow(self) -> bool:
        return int(self._socket.get_write_buffer_size()) > MAX_BUFFERED

    @property
    def is_closing(self) -> bool:
        return bool(self._socket.is_closing())

    def close(self) -> None:
        """Once the client has taken what is buffered, or does not want to."""
        self._socket.close()
        asyncio.get_running_loop().call_later(CLOSE_WITHIN, self._socket.abort)

    def shutdown(self) -> None:
        """The server stops."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def lost(self) -> None:
        """The client is gone."""
        self.write = _to_nobody
        if self.on_lost is not None:
            self.on_lost()


def _to_nobody(_data: bytes) -> None:
    """A closed socket would raise, in the middle of a broadcast to others."""


class HandoverMiddleware:
    """What goes on beside the app keeps nothing of its way through it: a dozen frames for each connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        transport = scope.get("extensions", {}).get(TRANSPORT)
        if not isinstance(transport, Transport) or transport.continuation is None:
            return
        for name in scope.keys() - _KEPT:
            del scope[name]
        continuation, transport.continuation = transport.continuation, None
        await continuation(receive, send)


def chunk(data: bytes) -> bytes:
    """As a chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def text_frame(text: bytes) -> bytes:
    """As a text frame of a server (RFC 6455)."""
    size = len(text)
    if size < _SHORT:
        return b"\x81" + size.to_bytes(1, "big") + text
    if size < _MIDDLE:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text
