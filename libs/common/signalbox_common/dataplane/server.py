"""Serves the routes of one service, on a socket that only this machine, or a private network, reaches."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from signalbox_common import background, telemetry
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.dataplane import FENCE, DataRoute
from signalbox_common.dataplane.numbers import number_of
from signalbox_common.errors import GrantRevoked, SignalboxError, Unauthenticated, Unavailable
from signalbox_common.http import HttpServer
from signalbox_common.principal import GrantVerifier, HeldGrant, Principal, authorize
from signalbox_common.revoked import Revocations
from signalbox_common.space import DiskSpace

log = telemetry.get_logger()

UNCHECKED_FOR = 10.0
"""Seconds without word of revocations after which open responses are ended."""
_CHECK_EVERY = 0.5
_SPACE_STEP = 1024 * 1024
"""Bytes of a body between two looks at the disk."""


@dataclass(frozen=True)
class DataRequest:
    """A request whose sender may make it."""

    principal: Principal
    path: dict[str, str]
    """The names of the route, as they stand in the address."""
    query: dict[str, str]
    fence: int | None
    """The epoch of whoever sends it: who has a lower one than was seen is too late."""
    _request: Request
    _space: DiskSpace

    async def body(self) -> AsyncIterator[bytes]:
        """As it comes, no faster than it is taken; raises Unavailable where it ends too early.

        What is put somewhere ends with DiskFull where there is no space for more.
        """
        unchecked = 0
        try:
            async for chunk in self._request.stream():
                unchecked += len(chunk)
                if unchecked > _SPACE_STEP and self._request.method == "PUT":
                    self._space.require()
                    unchecked = 0
                if chunk:
                    yield chunk
        except ClientDisconnect as error:
            raise Unavailable("The body ended too early.") from error

    def offset(self, name: str = "from") -> int:
        """Where to begin, of a body that is asked for from some place on."""
        return number_of(self.query.get(name, "0"), name)


DataHandler = Callable[[DataRequest], Awaitable[Response]]


@dataclass(eq=False)
class _Open:
    """A response on its way."""

    held: HeldGrant
    task: "asyncio.Task[Any]"


class DataServer:
    """Routes are added before it starts; whatever is open when a grant is taken back is cut."""

    def __init__(self, service: str, grants: GrantVerifier, revoked: Revocations, space: DiskSpace) -> None:
        self._service = service
        self._space = space
        self._grants = grants
        self._revoked = revoked
        self._routes: list[Route] = []
        self._open: set[_Open] = set()
        self._server: HttpServer | None = None
        self._checking: asyncio.Task[None] | None = None

    def on(self, route: DataRoute) -> Callable[[DataHandler], DataHandler]:
        if route.service != self._service:
            raise ValueError(f"{route.does} is not done by {self._service}")

        def register(handler: DataHandler) -> DataHandler:
            self._routes.append(Route(route.path, _RouteApp(self, route, handler), methods=[route.method]))
            return handler

        return register

    @property
    def has_routes(self) -> bool:
        return bool(self._routes)

    async def start(self, listen: str) -> None:
        """On `unix:<path>` or `<host>:<port>`."""
        self._server = HttpServer(Starlette(routes=self._routes), _listening(listen))
        self._server.start()
        self._checking = asyncio.create_task(self._check(), name="open responses")
        self._revoked.listeners.add(self._on_revoked)

    async def stop(self) -> None:
        self._revoked.listeners.discard(self._on_revoked)
        await background.end(self._checking)
        for each in list(self._open):
            each.task.cancel()
        if self._server is not None:
            await self._server.stop()

    @property
    def port(self) -> int:
        """Where it listens on a network."""
        if self._server is None:
            raise RuntimeError("start comes first")
        return self._server.port

    async def serve(
        self, route: DataRoute, handler: DataHandler, scope: Scope, receive: Receive, send: Send
    ) -> None:
        request = Request(scope, receive)
        try:
            held = await self._admit(route, request)
        except SignalboxError as error:
            await _refusal(error)(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        task = asyncio.create_task(self._respond(handler, held, request, sending))
        opened = _Open(held, task)
        self._open.add(opened)
        if held.covered(self._revoked):  # since it was looked at; from now on nothing is missed
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                await background.end(task)
                raise
            # Cut: what has begun stays without its end, so that nobody takes it for whole.
            if not begun:
                await _refusal(GrantRevoked())(scope, receive, send)
        finally:
            self._open.discard(opened)

    async def _respond(self, handler: DataHandler, held: HeldGrant, request: Request, send: Send) -> None:
        fence = request.headers.get(FENCE)
        try:
            response = await handler(
                DataRequest(
                    principal=held.principal,
                    path=dict(request.path_params),
                    query=dict(request.query_params),
                    fence=number_of(fence, FENCE) if fence is not None else None,
                    _request=request,
                    _space=self._space,
                )
            )
        except SignalboxError as error:
            response = _refusal(error)
        except Exception:
            log.exception("request failed", route=request.url.path)
            response = _refusal(SignalboxError())
        await response(request.scope, request.receive, send)

    async def _admit(self, route: DataRoute, request: Request) -> HeldGrant:
        kind, _, grant = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise Unauthenticated("A grant is needed.")
        held = await self._grants.hold(grant.strip(), route.grant)
        authorize(route, held.principal.standing)
        if route.method == "PUT":
            self._space.require()
        return held

    def _on_revoked(self, _what: AccessRevoked) -> None:
        for each in list(self._open):
            if each.held.covered(self._revoked):
                each.task.cancel()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            if self._revoked.silence > UNCHECKED_FOR:
                for each in list(self._open):
                    each.task.cancel()


class _RouteApp:
    """An ASGI application of its own for each route: a response goes on beside whoever may cut it."""

    def __init__(self, server: DataServer, route: DataRoute, handler: DataHandler) -> None:
        self._server, self._route, self._handler = server, route, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._server.serve(self._route, self._handler, scope, receive, send)


def _refusal(error: SignalboxError) -> Response:
    return Response(
        error.failure().encode(),
        error.status,
        {"Connection": "close"},  # what is left of a body that was refused is not read
        media_type="application/json",
    )


def _listening(listen: str) -> socket.socket:
    if listen.startswith("unix:"):
        path = Path(listen.removeprefix("unix:"))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    else:
        host, _, port = listen.rpartition(":")
        listener = socket.create_server((host, int(port)), reuse_port=False)
    listener.listen(128)
    listener.settimeout(0)
    return listener
