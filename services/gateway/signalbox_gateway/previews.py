"""What listens in a sandbox, shown to people: HTTP and WebSockets, by a connection of its own for each.

Whatever comes out of there is hostile. It is shown as a page without an origin, so that its scripts read and
do nothing in our name; cookies go neither in nor out, and nothing in it says who looks.
"""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import h11
from fastapi import Request, WebSocket
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from signalbox_common import background, telemetry
from signalbox_common.dataplane.tunnel import Tunnel
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.keys import Sealer, decode_raw, encode_raw
from signalbox_gateway.errors import PreviewEnded

log = telemetry.get_logger()

POLICY = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads; frame-ancestors 'none'"
"""Without `allow-same-origin`: what is shown has an origin that nobody else has."""
PREVIEW = "/preview/"
"""What the addresses of links begin with."""
ANSWER_WITHIN = 120.0
"""Seconds without a byte of an answer that has not begun."""
LARGEST_MESSAGE = 4 * 1024 * 1024
_PIECE = 64 * 1024

Close = Callable[[], Awaitable[None]]
_PURPOSE = "previews"
_NOT_IN = frozenset(
    (
        *("authorization", "connection", "content-length", "cookie", "expect", "forwarded", "host"),
        *("keep-alive", "proxy-authorization", "proxy-connection", "referer", "te", "trailer"),
        *("transfer-encoding", "upgrade", "via", "x-csrf-token", "x-real-ip"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"),
    )
)
"""Of one hop, or about who asks."""
_NOT_OUT = frozenset(
    (
        *("access-control-allow-credentials", "access-control-allow-origin", "alt-svc", "cache-control"),
        *("clear-site-data", "expires", "pragma"),
        *(
            "connection",
            "date",
            "content-security-policy",
            "content-security-policy-report-only",
            "keep-alive",
        ),
        *("nel", "proxy-authenticate", "report-to", "reporting-endpoints", "service-worker-allowed"),
        *("set-cookie", "strict-transport-security", "trailer", "transfer-encoding", "upgrade"),
        *("www-authenticate", "x-correlation-id", "x-frame-options", "x-request-id"),
    )
)
"""Of one hop, or what would hold for all of our origin."""


@dataclass(frozen=True)
class Link:
    """Who shows it may look at one port of one sandbox, until it ends."""

    token: str
    sandbox: uuid.UUID
    port: int
    expires_at: float


class Links:
    """What a link says is sealed: nobody else reads the token that it stands on, nor makes one."""

    def __init__(self, secret_key: str) -> None:
        self._sealer = Sealer(secret_key, "gateway/previews")

    def make(self, token: str, sandbox: uuid.UUID, port: int, expires_at: datetime) -> str:
        said = [token, str(sandbox), port, expires_at.timestamp()]
        return encode_raw(self._sealer.seal(json.dumps(said).encode(), _PURPOSE))

    def read(self, text: str) -> Link:
        try:
            token, sandbox, port, expires_at = json.loads(self._sealer.open(decode_raw(text), _PURPOSE))
        except (ValueError, SignalboxError) as error:
            raise PreviewEnded from error
        if expires_at < time.time():
            raise PreviewEnded
        return Link(token, uuid.UUID(sandbox), port, expires_at)


@dataclass(frozen=True)
class Target:
    """What is asked for inside, and how it is reached from outside."""

    port: int
    path: str
    """With its query."""
    prefix: str
    """The address of its `/` here."""

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"


async def show(request: Request, tunnel: Tunnel, target: Target) -> "Shown":
    """The answer, once it has begun."""
    exchange = _Exchange(request, tunnel, target)
    beginning = asyncio.create_task(exchange.begin())
    leaving = asyncio.create_task(exchange.until_it_leaves(request.receive))
    try:
        await asyncio.wait([beginning, leaving], timeout=ANSWER_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        response = beginning.result()
    except BaseException as error:
        await background.end(beginning, leaving)
        await exchange.end()
        if isinstance(error, h11.RemoteProtocolError | asyncio.InvalidStateError):
            raise Unavailable("What listens there does not answer as HTTP does.") from error
        raise
    await background.end(leaving)
    return Shown(exchange, response, target)


class _Exchange:
    """One request, and its answer."""

    def __init__(self, request: Request, tunnel: Tunnel, target: Target) -> None:
        self._request = request
        self._tunnel = tunnel
        self._target = target
        self._connection = h11.Connection(h11.CLIENT)
        self._asking: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        """Whether nothing more of the request is taken."""

    async def begin(self) -> h11.Response:
        """Raises `h11.RemoteProtocolError` where that is no answer."""
        headers = [*_passed_in(self._request.headers.items(), self._target), ("Connection", "close")]
        length = self._request.headers.get("content-length")
        if length is not None:
            headers.append(("Content-Length", length))
        elif "transfer-encoding" in self._request.headers:
            headers.append(("Transfer-Encoding", "chunked"))
        wanted = h11.Request(method=self._request.method, target=self._target.path, headers=headers)
        await self._tunnel.send(self._connection.send(wanted) or b"")
        self._asking = asyncio.create_task(self._ask())
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("that is no answer")

    async def _ask(self) -> None:
        try:
            async for chunk in self._request.stream():
                if chunk:
                    await self._tunnel.send(self._connection.send(h11.Data(data=chunk)) or b"")
            if last := self._connection.send(h11.EndOfMessage()):
                await self._tunnel.send(last)
        except (Unavailable, ClientDisconnect):
            pass  # whoever waits for the answer finds out
        finally:
            self._asked.set()

    async def until_it_leaves(self, receive: Receive) -> None:
        """Who has asked; what it still sends is read first."""
        await self._asked.wait()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def chunks(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise Unavailable("The answer ended too early.")

    async def _next(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._tunnel.read())
        return event

    async def end(self) -> None:
        await background.end(self._asking)


class Shown(Response):
    """As it comes; ends with its client."""

    close: Close
    """Called at its end: whoever shows it says what it came by."""

    def __init__(self, exchange: _Exchange, response: h11.Response, target: Target) -> None:
        super().__init__(status_code=response.status_code)
        self.raw_headers = [
            (name, _moved(value, target) if name == b"location" else value)
            for name, value in response.headers
            if name.decode("latin-1") not in _NOT_OUT
        ]
        self.raw_headers.append((b"content-security-policy", POLICY.encode()))
        self.raw_headers.append((b"cache-control", b"no-store"))
        self._exchange = exchange

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        tasks = [
            asyncio.create_task(self._stream(send)),
            asyncio.create_task(self._exchange.until_it_leaves(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            await background.end(*tasks)
            await self._exchange.end()
            await self.close()

    async def _stream(self, send: Send) -> None:
        """What is cut stays without its end, so that nobody takes it for whole."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self._exchange.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (Unavailable, h11.RemoteProtocolError) as error:
            log.info("preview cut", reason=str(error)[:200])
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _moved(location: bytes, target: Target) -> bytes:
    """What it says of itself, as it is called here."""
    text = location.decode("latin-1")
    for own in (f"http://{target.host}", f"http://127.0.0.1:{target.port}"):
        text = text.removeprefix(own)
    if text.startswith("/") and not text.startswith("//"):
        text = target.prefix + text
    return text.encode("latin-1")


def _passed_in(headers: Sequence[tuple[str, str]], target: Target) -> list[tuple[str, str]]:
    found = [("Host", target.host), ("X-Forwarded-Prefix", target.prefix)]
    for name, value in headers:
        if name == "origin":
            found.append(("Origin", f"http://{target.host}"))
        elif name not in _NOT_IN and not name.startswith("sec-"):
            found.append((name, value))
    return found


# -- WebSockets --------------------------------------------------------------------------------------------


async def converse(browser: WebSocket, tunnel: Tunnel, target: Target) -> None:
    """Messages both ways, until one of both closes; accepts the socket when the other side has."""
    async with _inside(browser, tunnel, target) as inside:
        if browser.application_state is WebSocketState.CONNECTING:
            await browser.accept(inside.subprotocol)
        tasks = [
            asyncio.create_task(_to_inside(browser, inside)),
            asyncio.create_task(_to_browser(inside, browser)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await background.end(*tasks)
        with suppress(RuntimeError, WebSocketDisconnect):
            await browser.close(inside.close_code or 1000)


@asynccontextmanager
async def _inside(browser: WebSocket, tunnel: Tunnel, target: Target) -> AsyncIterator[ClientConnection]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs, limit=_PIECE)
    relaying = [
        asyncio.create_task(_into(reader, tunnel)),
        asyncio.create_task(_out_of(tunnel, writer)),
    ]
    asked = browser.scope.get("subprotocols") or None
    try:
        async with connect(
            f"ws://{target.host}{target.path}",
            sock=ours,
            origin=f"http://{target.host}",  # type: ignore[arg-type]  # a plain string is one
            subprotocols=asked,
            proxy=None,
            max_size=LARGEST_MESSAGE,
            open_timeout=ANSWER_WITHIN,
            ping_interval=None,
            close_timeout=1.0,
        ) as inside:
            yield inside
    except (InvalidHandshake, OSError, TimeoutError) as error:
        raise Unavailable("What listens there does not speak as WebSockets do.") from error
    finally:
        await background.end(*relaying)
        writer.transport.abort()


async def _into(reader: asyncio.StreamReader, tunnel: Tunnel) -> None:
    with suppress(Unavailable):
        while data := await reader.read(_PIECE):
            await tunnel.send(data)


async def _out_of(tunnel: Tunnel, writer: asyncio.StreamWriter) -> None:
    with suppress(Unavailable, OSError):
        while data := await tunnel.read():
            writer.write(data)
            await writer.drain()
    writer.close()


async def _to_inside(browser: WebSocket, inside: ClientConnection) -> None:
    with suppress(WebSocketDisconnect, ConnectionClosed):
        while True:
            message = await browser.receive()
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            await inside.send(text if text is not None else message["bytes"])


async def _to_browser(inside: ClientConnection, browser: WebSocket) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect, RuntimeError):
        async for message in inside:
            if isinstance(message, str):
                await browser.send_text(message)
            else:
                await browser.send_bytes(message)
