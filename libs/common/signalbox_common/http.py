"""HTTP servers inside a service: on a socket of ours, without signals of their own."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import uvicorn


class _PromptServer(uvicorn.Server):
    """Is told when to end, where uvicorn looks ten times a second: a tenth of what an idle service takes."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told.wait()


class HttpServer:
    """Serves one ASGI application until it is stopped."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # it would be that of the start
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _PromptServer(config)
        self._socket = listener
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        self._task = asyncio.create_task(self._server._serve([self._socket]))  # noqa: SLF001 - `serve` would take over our signals

    async def stop(self) -> None:
        self._server.should_exit = True
        self._server.told.set()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
