"""The server that the gateway runs in: uvicorn, whose connections can be written to beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from signalbox_gateway.live.transport import HandoverMiddleware
from signalbox_gateway.peers import Peers
from signalbox_gateway.protocols import Bounds, Config, HttpProtocol, WebSocketProtocol
from signalbox_gateway.settings import GatewaySettings

MAX_FRAME = 64 * 1024
"""Bytes of one message of a WebSocket's client."""


class Server(uvicorn.Server):
    """Told to stop, it has done what it should when it has: it need not die of the signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def server(app: FastAPI, settings: GatewaySettings) -> uvicorn.Server:
    config = Config(
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
    config.bounds = Bounds(
        head=settings.max_head,
        headers=settings.max_headers,
        head_within=settings.head_timeout,
        body_within=settings.body_timeout,
    )
    config.peers = Peers(settings.connections_per_address, settings.proxies())
    return Server(config)
