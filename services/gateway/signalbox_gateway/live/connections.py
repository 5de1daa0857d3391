"""Connections that are written to beside the server that they belong to."""

import asyncio
from collections.abc import Callable
from typing import Any

CONNECTION = "signalbox.connection"
"""The extension of a request's scope that holds it."""
MAX_BEHIND = 512 * 1024
"""Bytes that may wait for one client; who is further behind is let go, so that nobody else waits."""
LET_GO_WITHIN = 5.0


class Connection:
    """One client's socket."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.write: Callable[[bytes], None] = transport.write
        """Never waits."""
        self.when_lost: Callable[[], None] | None = None
        self.when_stopping: Callable[[], None] | None = None
        """Called when the server stops."""

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
        if self.when_lost is not None:
            self.when_lost()
