"""The server that the gateway runs in: uvicorn, whose connections can be written to beside it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from signalbox_gateway.live.transport import TRANSPORT, HandoverMiddleware, Transport
from signalbox_gateway.settings import GatewaySettings

HEADERS_WITHIN = 10.0
"""Seconds for the head of a request to arrive; whoever takes longer is let go."""
MAX_FRAME = 64 * 1024
"""Bytes of one message of a WebSocket's client."""


class HttpProtocol(HttpToolsProtocol):
    """Hands the connection to whoever streams over it, and does not wait for ever for a request to begin."""

    _signalbox: Transport | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect()
        self._signalbox = Transport(self.transport)
        scope: Any = self.scope
        scope["extensions"] = {TRANSPORT: self._signalbox}

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.parser: Any = None  # as at the end of a connection: it holds us, and we are not needed any more

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)
        if self._signalbox is not None:
            self._signalbox.lost()

    def shutdown(self) -> None:
        super().shutdown()
        if self._signalbox is not None:
            self._signalbox.shutdown()

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_WITHIN, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """As above."""

    _signalbox: Transport | None = None

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not where the handshake was refused
            scope: Any = self.scope
            scope["extensions"][TRANSPORT] = self._signalbox = Transport(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._signalbox is not None:
            self._signalbox.lost()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            del self.request, self.response  # nobody asks for these headers again


class Server(uvicorn.Server):
    """Told to stop, it has done what it should when it has: it need not die of the signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def server(app: FastAPI, settings: GatewaySettings) -> uvicorn.Server:
    config = uvicorn.Config(
        HandoverMiddleware(app),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # Addresses knows which proxies are ours
        timeout_graceful_shutdown=int(settings.shutdown_grace),
        timeout_keep_alive=75,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,  # a dictionary for each of fifty thousand connections
        ws_ping_interval=30,
        ws_ping_timeout=30,
    )
    return Server(config)
