"""Connections that are written to beside the server that they belong to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

CONNECTION = "signalbox.connection"
"""The extension of a request's scope that holds it."""
MAX_BEHIND = 512 * 1024
"""Bytes that may wait for one client; who is further behind is let go, so that nobody else waits."""
LET_GO_WITHIN = 5.0
_KEPT = frozenset({"type", "method"})
"""Of a scope, what the server still asks for."""


class Connection:
    """One client's socket."""

    __slots__ = ("_transport", "after", "when_lost", "when_stopping", "write")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.write: Callable[[bytes], None] = transport.write
        """Never waits, and writes to nobody once the client is gone."""
        self.when_lost: Callable[[], None] | None = None
        self.when_stopping: Callable[[], None] | None = None
        """Called when the server stops."""
        self.after: Callable[[Receive, Send], Awaitable[None]] | None = None
        """How it goes on when the app is through with the request."""

    @property
    def too_far_behind(self) -> bool:
        return int(self._transport.get_write_buffer_size()) > MAX_BEHIND

    @property
    def closing(self) -> bool:
        return bool(self._transport.is_closing())

    def let_go(self) -> None:
        """Ends it when the client has taken what waits, or does not want to."""
        self._transport.close()
        asyncio.get_running_loop().call_later(LET_GO_WITHIN, self._transport.abort)

    def stopping(self) -> None:
        if self.when_stopping is not None:
            self.when_stopping()

    def end(self) -> None:
        """The client is gone."""
        self.write = _to_nobody
        if self.when_lost is not None:
            self.when_lost()


def _to_nobody(_data: bytes) -> None:
    """A closed transport would raise, in the middle of telling others."""


class HandingOver:
    """What goes on beside the app keeps nothing of its way through it: a dozen frames for each connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        connection = scope.get("extensions", {}).get(CONNECTION)
        if not isinstance(connection, Connection) or connection.after is None:
            return
        for name in scope.keys() - _KEPT:
            del scope[name]
        after, connection.after = connection.after, None
        await after(receive, send)
