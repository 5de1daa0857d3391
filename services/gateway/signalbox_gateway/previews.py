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
from urllib.parse import urljoin, urlsplit, urlunsplit

import h11
from fastapi import Request, WebSocket
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin

from signalbox_common import background, telemetry
from signalbox_common.dataplane.tunnel import Tunnel
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.keys import Sealer, decode_raw, encode_raw
from signalbox_gateway import event_stream
from signalbox_gateway.errors import PreviewEnded
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.connections import CLOSES, connections_of, while_allowed

log = telemetry.get_logger()

POLICY = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads; frame-ancestors 'none'"
"""Without `allow-same-origin`: what is shown has an origin that nobody else has."""
PREVIEW = "/preview/"
"""What the addresses of links begin with."""
ANSWER_WITHIN = 120.0
"""Seconds without a byte of an answer that has not begun."""
LARGEST_MESSAGE = 1024 * 1024
MOST_SOCKETS = 200
"""WebSockets of previews in this process: each holds a few messages that nobody has taken yet."""
TAKEN_WITHIN = 60.0
"""Seconds in which a browser takes a message."""
_PIECE = 64 * 1024

Close = Callable[[], Awaitable[None]]
_PURPOSE = "previews"
_NOT_IN = frozenset(
    (
        *("authorization", "connection", "content-length", "cookie", "expect", "forwarded", "host"),
        *("keep-alive", "proxy-authorization", "proxy-connection", "referer", "te", "trailer"),
        *("transfer-encoding", "upgrade", "via", "x-csrf-token", "x-real-ip", "x-client-ip"),
        *("true-client-ip", "traceparent", "tracestate", "baggage"),
    )
)
_NOT_IN_LIKE = ("sec-", "x-forwarded-", "x-auth-", "x-amzn-", "x-goog-", "x-ms-", "x-original-", "cf-")
"""Of one hop, or about who asks, as proxies before us may say it."""
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
        *("www-authenticate", "x-correlation-id", "x-frame-options", "x-request-id", "x-sendfile"),
        *("accept-ch", "critical-ch", "location"),
    )
)
_NOT_OUT_LIKE = ("x-accel-", "ratelimit-")
"""Of one hop, or what would hold for all of our origin, or be done by a proxy before us."""


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
    origin: str
    """Our own, as the browser calls it: `host:port`."""
    ends_at: float | None = None
    """When nobody may look any more, where that is known."""

    @property
    def seconds_left(self) -> float | None:
        return max(0.0, self.ends_at - time.time()) if self.ends_at is not None else None

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"


async def show(request: Request, asker: Asker, tunnel: Tunnel, target: Target) -> "Shown":
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
    return Shown(asker, exchange, response, target)


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
        headers = [*headers_in(self._request.headers.items(), self._target), (b"connection", b"close")]
        length = self._request.headers.get("content-length")
        if length is not None:
            headers.append((b"content-length", length.encode("latin-1")))
        elif "transfer-encoding" in self._request.headers:
            headers.append((b"transfer-encoding", b"chunked"))
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

    def __init__(self, asker: Asker, exchange: _Exchange, response: h11.Response, target: Target) -> None:
        super().__init__(status_code=response.status_code)
        self.raw_headers = [
            (name, value)
            for name, value in response.headers
            if not _is_one_of(name.decode("latin-1"), _NOT_OUT, _NOT_OUT_LIKE)
        ]
        self.raw_headers += [
            (name, led)
            for name, value in response.headers
            if name == b"location" and (led := moved(value, target)) is not None
        ]
        self.raw_headers.append((b"content-security-policy", POLICY.encode()))
        self.raw_headers.append((b"cache-control", b"no-store"))
        self._asker = asker
        self._exchange = exchange
        self._target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        both = (self._stream(send), self._exchange.until_it_leaves(receive))
        try:
            await while_allowed(connections_of(scope), self._asker, *both, within=self._target.seconds_left)
        finally:
            await self._exchange.end()
            await self.close()

    async def _stream(self, send: Send) -> None:
        """What is cut stays without its end, so that nobody takes it for whole."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self.headers.get("content-type", "").startswith(event_stream.MEDIA_TYPE):
            # What compresses before us holds the head back until there is something of the body.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        try:
            async for chunk in self._exchange.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (Unavailable, h11.RemoteProtocolError) as error:
            log.info("preview cut", reason=str(error)[:200])
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def moved(location: bytes, target: Target) -> bytes | None:
    """As it is called here; None where it leads to something else of ours, which is not its to ask for."""
    try:
        led = urlsplit(urljoin(f"http://{target.host}{target.path}", location.decode("latin-1")))
    except ValueError:
        return None
    if led.netloc in (target.host, f"127.0.0.1:{target.port}"):
        path = f"{target.prefix}{led.path or '/'}"
        return urlunsplit(("", "", path, led.query, led.fragment)).encode("latin-1")
    return None if led.netloc == target.origin else led.geturl().encode("latin-1")


def headers_in(headers: Sequence[tuple[str, str]], target: Target) -> list[tuple[bytes, bytes]]:
    found = [("host", target.host), ("x-forwarded-prefix", target.prefix)]
    for name, value in headers:
        if name == "origin":
            found.append((name, f"http://{target.host}"))
        elif not _is_one_of(name, _NOT_IN, _NOT_IN_LIKE):
            found.append((name, value))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found]


def _is_one_of(name: str, names: frozenset[str], beginnings: tuple[str, ...]) -> bool:
    return name in names or name.startswith(beginnings)


# -- WebSockets --------------------------------------------------------------------------------------------


async def converse(browser: WebSocket, asker: Asker, tunnel: Tunnel, target: Target) -> None:
    """Messages both ways, until one of both closes; accepts the socket when the other side has."""
    async with _counted(), _inside(browser, tunnel, target) as inside:
        if browser.application_state is WebSocketState.CONNECTING:
            await browser.accept(inside.subprotocol)
        both = (_to_inside(browser, inside), _to_browser(inside, browser))
        connections = connections_of(browser.scope)
        why = await while_allowed(connections, asker, *both, within=target.seconds_left)
        with suppress(RuntimeError, WebSocketDisconnect):
            await browser.close(CLOSES[why] if why is not None else inside.close_code or 1000, why)


_open_sockets = asyncio.BoundedSemaphore(MOST_SOCKETS)


@asynccontextmanager
async def _counted() -> AsyncIterator[None]:
    if _open_sockets.locked():
        raise Unavailable("There are too many previews open at the moment.")
    async with _open_sockets:
        yield


@asynccontextmanager
async def _inside(browser: WebSocket, tunnel: Tunnel, target: Target) -> AsyncIterator[ClientConnection]:
    ours, theirs = socket.socketpair()
    try:
        reader, writer = await asyncio.open_connection(sock=theirs, limit=_PIECE)
    except BaseException:
        ours.close()  # theirs is closed with its transport
        raise
    relaying = [
        asyncio.create_task(_into(reader, tunnel)),
        asyncio.create_task(_out_of(tunnel, writer)),
    ]
    asked = browser.scope.get("subprotocols") or None
    try:
        async with connect(
            f"ws://{target.host}{target.path}",
            sock=ours,
            origin=Origin(f"http://{target.host}"),
            subprotocols=asked,
            proxy=None,
            max_size=LARGEST_MESSAGE,
            max_queue=1,
            compression=None,  # what is small here may be large there
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
    with suppress(ConnectionClosed, WebSocketDisconnect, RuntimeError, TimeoutError):
        async for message in inside:
            async with asyncio.timeout(TAKEN_WITHIN):
                if isinstance(message, str):
                    await browser.send_text(message)
                else:
                    await browser.send_bytes(message)
