"""What every request passes first: ids, bounds, security headers, and the last word on errors."""

import time
from collections.abc import Callable

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signalbox_common import telemetry
from signalbox_common.bus.headers import client, is_correlation_id
from signalbox_common.keys import uuid7
from signalbox_gateway import pages
from signalbox_gateway.addresses import Addresses
from signalbox_gateway.peers import BodyRoom
from signalbox_gateway.previews import PREVIEW
from signalbox_gateway.problems import problem
from signalbox_gateway.routes.bodies import Limits

log = telemetry.get_logger()

REQUESTS = Counter("signalbox_http_requests_total", "HTTP requests", ["method", "route", "status"])
SECONDS = Histogram("signalbox_http_seconds", "Time to answer an HTTP request", ["method", "route"])

SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
API = "/api/"
STRICT_CSP = "default-src 'none'; frame-ancestors 'none'"


class _BodyTooLarge(HTTPException):
    """The body went over the limit while it was read; passes through whoever was reading."""


class _NoRoom(HTTPException):
    """What all bodies hold together was over the limit; as above."""


class _Body:
    """The body of one request, counted while it comes in."""

    def __init__(self, receive: Receive, most: int, room: BodyRoom, most_held: int) -> None:
        self._receive = receive
        self._most = most
        self._room = room
        self._most_held = most_held
        """What is larger than that is passed on as it comes, and not held."""
        self._seen = self._held = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._most:
                raise _BodyTooLarge(413)
            more = min(self._seen, self._most_held) - self._held
            if more and not self._room.take(more):
                raise _NoRoom(503, headers={"Retry-After": "1", "Connection": "close"})
            self._held += more
        return message

    def give_back(self) -> None:
        self._room.give_back(self._held)
        self._held = 0


class Edge:
    """Pure ASGI, outermost."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int,
        limits: Limits,
        addresses: Addresses,
        room: BodyRoom,
        readable: Callable[[ASGIApp], ASGIApp],
    ) -> None:
        """`readable` lets pages of other origins read what is answered here, as what is answered within."""
        self._app = app
        self._readable = readable
        self._max_body = max_body
        self._limits = limits
        self._addresses = addresses
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _taken_or_minted(headers.get("x-request-id"))
        correlation_id = _taken_or_minted(headers.get("x-correlation-id"), request_id)
        telemetry.correlation_id.set(correlation_id)
        client.set(self._addresses.client(scope, headers))
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        max_body = self._limit(scope["path"])
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out["X-Correlation-ID"] = correlation_id
                out["Server-Timing"] = f"gateway;dur={_milliseconds_since(started)}"
                # Only what shows something of others says so itself.
                out.setdefault("Content-Security-Policy", pages.CSPS.get(scope["path"], STRICT_CSP))
                for name, value in SECURITY_HEADERS.items():
                    out[name] = value
                if scope["path"].startswith(API):
                    out.setdefault("Cache-Control", "no-store")  # what somebody may see is not everybody's
            await send(message)

        with telemetry.tracer.start_as_current_span(
            f"{scope['method']} {_shown(scope['path'])}",
            context=telemetry.extract({"traceparent": headers.get("traceparent", "")}),
            kind=SpanKind.SERVER,
        ) as span:
            await self._guarded(scope, receive, send_on, headers, max_body, lambda: status)
            span.set_attribute("http.response.status_code", status)
        route = getattr(scope.get("route"), "path", "unmatched")
        _log_request(scope, route, status, started, request_id)
        REQUESTS.labels(scope["method"], route, status).inc()
        SECONDS.labels(scope["method"], route).observe(time.perf_counter() - started)

    def _limit(self, path: str) -> int:
        return next((most for route, most in self._limits if route.fullmatch(path)), self._max_body)

    async def _guarded(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Headers,
        max_body: int,
        status: Callable[[], int],
    ) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > max_body:
            await self._too_large(scope, receive, send, max_body)
            return
        body = _Body(receive, max_body, self._room, self._max_body)
        try:
            await self._app(scope, body.receive, send)
        except ClientDisconnect:
            log.info("the client left", method=scope["method"], path=_shown(scope["path"]))
        except Exception:
            log.exception("request failed", method=scope["method"], path=_shown(scope["path"]))
            if status():
                raise
            failed = problem(500, "internal", "Something went wrong on our side.")
            await self._readable(failed)(scope, receive, send)
        finally:
            body.give_back()

    async def _too_large(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        answer = problem(
            413,
            "body_too_large",
            f"The request body may have at most {max_body} bytes.",
            headers={"Connection": "close"},
        )
        await self._readable(answer)(scope, receive, send)


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _log_request(scope: Scope, route: str, status: int, started: float, request_id: str) -> None:
    """One line for each; those of probes, which come every few seconds, only where all is wanted."""
    asked = scope.get("state", {})
    write = log.debug if route in _PROBES else log.info
    write(
        "request",
        method=scope["method"],
        route=route,
        status=status,
        milliseconds=_milliseconds_since(started),
        request_id=request_id,
        user=asked.get("user"),
        project=asked.get("project"),
    )


_PROBES = frozenset(
    {"/health", *(f"{API}v1/{name}" for name in ("health", "liveness", "readiness", "health/ready"))}
)
_LINKS = (PREVIEW, f"{API}v1/hooks/")
"""What such addresses begin with."""


def _shown(path: str) -> str:
    """Whoever has a link may follow it: it stands in no log, nor in a span."""
    return next((f"{each}…" for each in _LINKS if path.startswith(each)), path)


def _taken_or_minted(given: str | None, fallback: str | None = None) -> str:
    if given is not None and is_correlation_id(given):
        return given
    return fallback or str(uuid7())
