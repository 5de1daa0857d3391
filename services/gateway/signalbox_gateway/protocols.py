"""HTTP and WebSockets as they come in: bounded, and handed to whoever streams over them."""

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from signalbox_common.keys import uuid7
from signalbox_gateway.edge import SECURITY_HEADERS, STRICT_CSP
from signalbox_gateway.live.transport import TRANSPORT, Transport
from signalbox_gateway.peers import HELD, Peers
from signalbox_gateway.problems import problem

BODY_STEP = 16 * 1024
"""Bytes of a body that come in each span of its time."""
MOST_PIPELINED = 32
"""Requests that wait on one connection for the answers before theirs."""


@dataclass(frozen=True)
class Bounds:
    """Of what comes in on one connection; 0 where there is none."""

    head: int
    """Bytes of a request's head, and of what follows its body."""
    headers: int
    head_within: float
    body_within: float


class Config(uvicorn.Config):
    """What its protocols look up."""

    bounds: Bounds
    peers: Peers


class _Refused(Exception):
    """Nothing more is read of this connection."""


@dataclass(frozen=True)
class _Why:
    status: int
    code: str
    detail: str

    def answer(self) -> bytes:
        """Whole, and the last one on its connection."""
        identifier = str(uuid7())
        body = bytes(problem(self.status, self.code, self.detail, correlation_id=identifier).body)
        lines = SECURITY_HEADERS | {
            "Content-Security-Policy": STRICT_CSP,
            "Cache-Control": "no-store",
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "X-Request-ID": identifier,
            "X-Correlation-ID": identifier,
            "Connection": "close",
        }
        if self.status in (408, 429):
            lines["Retry-After"] = "1"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return STATUS_LINE[self.status] + head.encode("ascii") + b"\r\n" + body


_MALFORMED = _Why(400, "bad_request", "This is no HTTP request.")
_PIPELINED = _Why(400, "bad_request", "Too many requests wait on this connection.")
_HEAD_TOO_LARGE = _Why(431, "headers_too_large", "The head of the request is too large.")
_BODY_LATE = _Why(408, "request_timeout", "The body of the request did not come in time.")
_CROWDED = _Why(429, "too_many_connections", "There are too many connections from this address.")

_quiet = logging.getLogger("uvicorn.error.requests")
_quiet.setLevel(logging.ERROR)  # what strangers send is nothing to write down each time


class HttpProtocol(HttpToolsProtocol):
    config: Config
    _signalbox: Transport | None = None
    _deadline: asyncio.TimerHandle | None = None
    _who: str | None = None
    _why: _Why | None = None
    """Why nothing more is read."""
    _overhead = 0
    """Bytes that have come since the last that were of a body."""
    _head = 0
    _headers = 0
    _most_head: float = math.inf
    _most_headers: float = math.inf
    _in_body = False
    _body_seen = 0
    _body_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.logger = _quiet
        bounds = self.config.bounds
        self._most_head, self._most_headers = bounds.head or math.inf, bounds.headers or math.inf
        self._who = self.config.peers.enter(self.client[0] if self.client else None)
        if self.config.peers.is_crowded(self._who):
            self._refuse(_CROWDED)
        else:
            self._expect()

    def data_received(self, data: bytes) -> None:
        if self._why is not None:
            return
        self._overhead += len(data)
        super().data_received(data)
        if self.parser is None or self._why is not None:
            return
        if self._overhead > self._most_head + len(data):
            self._refuse(_HEAD_TOO_LARGE)
        elif self._in_body and self._body_timer is None:
            self._watch_body()

    # -- called by the parser -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if len(self.pipeline) >= MOST_PIPELINED:
            self._why_not(_PIPELINED)
        self._head = self._headers = 0
        self._expect()
        self._signalbox = Transport(self.transport)
        scope: Any = self.scope
        scope["extensions"] = {TRANSPORT: self._signalbox}

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        if self._head > self._most_head:
            self._why_not(_HEAD_TOO_LARGE)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        self._head += len(name) + len(value)
        if self._head > self._most_head or self._headers > self._most_headers:
            self._why_not(_HEAD_TOO_LARGE)
        if not self._in_body:  # what comes after it is read by nobody
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._overhead = 0
        self._in_body = True
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        self._body_seen += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        self._in_body = False
        if self._body_timer is not None:
            self._unwatch_body()
        super().on_message_complete()

    # -- the end of it --------------------------------------------------------------------------------------

    def handle_websocket_upgrade(self) -> None:
        self._in_body = False
        self._leave()
        super().handle_websocket_upgrade()
        self.parser: Any = None  # as at the end of a connection: it holds us, and we are not needed any more

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._unwatch_body()
        self._leave()
        super().connection_lost(exc)
        if self._signalbox is not None:
            self._signalbox.lost()

    def shutdown(self) -> None:
        super().shutdown()
        if self._signalbox is not None:
            self._signalbox.shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - what the parser says is not for strangers
        self._refuse(self._why or _MALFORMED)

    def _refuse(self, why: _Why) -> None:
        """Whoever has not been answered yet is told; what was under way is as if its client had left."""
        self._why = why
        cycle = self.cycle
        under_way = cycle is not None and not cycle.response_complete
        if under_way:
            cycle.disconnected = True
            cycle.message_event.set()
        told = not self.pipeline and not (under_way and cycle.response_started)
        self.pipeline.clear()
        self._expect_nothing()
        self._unwatch_body()
        if self.config.peers.is_held(self._who, self.loop.time()):
            self.transport.pause_reading()
            self.loop.call_later(HELD, self._end, why, told)
        else:
            self._end(why, told)

    def _end(self, why: _Why, told: bool) -> None:
        if self.transport.is_closing():
            return
        if told:
            self.transport.write(why.answer())
        self.transport.close()

    def _why_not(self, why: _Why) -> None:
        self._why = why
        raise _Refused  # the parser stops at it, and has `send_400_response` called

    def _leave(self) -> None:
        self.config.peers.leave(self._who)
        self._who = None

    # -- bounds ---------------------------------------------------------------------------------------------

    def _expect(self) -> None:
        """Whoever takes longer for the head of a request is let go."""
        within = self.config.bounds.head_within
        if self._deadline is None and within:
            self._deadline = self.loop.call_later(within, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _watch_body(self) -> None:
        """Each span brings some of it, or its end, unless it is us who do not read."""
        self._body_seen = 0
        if self.config.bounds.body_within:
            self._body_timer = self.loop.call_later(self.config.bounds.body_within, self._check_body)

    def _check_body(self) -> None:
        self._body_timer = None
        if self._body_seen >= BODY_STEP or self.flow.read_paused:
            self._watch_body()
        else:
            self._refuse(_BODY_LATE)

    def _unwatch_body(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """As above."""

    config: Config
    _signalbox: Transport | None = None
    _who: str | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._who = self.config.peers.enter(self.client[0] if self.client else None)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not where the handshake was refused
            scope: Any = self.scope
            scope["extensions"][TRANSPORT] = self._signalbox = Transport(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.peers.leave(self._who)
        super().connection_lost(exc)
        if self._signalbox is not None:
            self._signalbox.lost()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            del self.request, self.response  # nobody asks for these headers again
