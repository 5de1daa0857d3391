"""What listens in a sandbox, for its members, and for those who were given a link."""

import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import RedirectResponse, Response

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.auth import CreateToken
from signalbox_common.contracts.base import GrantScope
from signalbox_common.errors import SignalboxError
from signalbox_gateway import previews
from signalbox_gateway.clients import Clients
from signalbox_gateway.closing import close_of
from signalbox_gateway.errors import PreviewEnded
from signalbox_gateway.identity import Asker
from signalbox_gateway.previews import Link, Links, Target
from signalbox_gateway.routes.at_sandbox import (
    OF_SANDBOX,
    AtSandbox,
    SandboxBody,
    client_at,
    location_of,
    sender_at,
)
from signalbox_gateway.routes.here import ClientsHere, Sender
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.sockets import said_by, shown_by

routes = Routes("", "sandboxes")

_PORT = "/api/v1/sandboxes/{sandbox_id}/ports/{port}"
_LINK = previews.PREVIEW + "{link}"
MAX_BODY = 100 * 1024 * 1024
LONGEST = 7 * contract.DAY
_UNAUTHENTICATED = 401
_FOR_ANYBODY = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "*",
}
"""Its own pages have another origin; whoever has the link may read it anyway, and cookies go nowhere."""
_AT_PORT = (*OF_SANDBOX, (409, "nobody_listens"), (409, "too_many_connections"))
_WHATEVER: dict[str, Any] = {
    "takes": "anything",
    "max_body": MAX_BODY,
    "any_query": True,
    "response_class": Response,
    "shows": {200: {"description": "What it answers.", "content": {"*/*": {}}}},
}


class NewPreviewLink(SandboxBody):
    expires_in: Annotated[int, Field(ge=60, le=LONGEST)] = 3600
    """Seconds."""


_USUAL = NewPreviewLink()


class PreviewLink(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    url: str
    """For whoever has it."""
    expires_at: datetime
    token_id: uuid.UUID
    """Of the API token that it stands on: revoked, it ends."""


@routes.on(
    "POST",
    f"{_PORT}/links",
    CreateToken,
    reply=PreviewLink,
    status=201,
    grant=GrantScope.PROJECT,
    also=OF_SANDBOX,
)
async def make_link(
    here: AtSandbox, sandbox_id: uuid.UUID, port: contract.PortNumber, body: NewPreviewLink = _USUAL
) -> PreviewLink:
    """By it anybody looks at this port, until it ends. It stands on an API token: the one that asks, or a new
    one of who does."""
    expires_at = datetime.now(UTC) + timedelta(seconds=body.expires_in)
    asker = here.someone
    await location_of(here, sandbox_id)  # who may not look, or where nothing runs, gives nobody else a look
    token, token_id = asker.token, asker.token_id
    if token_id is None:
        name = f"preview of port {port} of sandbox {str(sandbox_id)[:8]}"
        wanted = CreateToken(name=name, scopes=("sandboxes:read",), expires_at=expires_at)
        made = (await here.clients.ask(here.request, wanted, asker)).value()
        token, token_id = made.token, made.id
    link = _links(here.request).make(token, sandbox_id, port, expires_at)
    address = (here.request.app.state.settings.public_url or str(here.request.base_url)).rstrip("/")
    return PreviewLink(url=f"{address}{previews.PREVIEW}{link}/", expires_at=expires_at, token_id=token_id)


async def _shown(here: Sender, sandbox: uuid.UUID, target: Target) -> Response:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_at(here, sandbox, contract.EXECUTE))
        opening = client.tunnel(contract.CONNECT_TO_PORT, sandbox=str(sandbox), port=str(target.port))
        tunnel = await stack.enter_async_context(opening)
        response = await previews.show(here.request, here.someone, tunnel, target)
        response.close = stack.pop_all().aclose
        return response
    raise AssertionError("it returns, or raises")


async def show_port(here: AtSandbox, sandbox_id: uuid.UUID, port: contract.PortNumber, path: str) -> Response:
    """What listens there answers; with any method, and by WebSocket.

    Its pages have an origin of their own, cookies go neither in nor out, and `X-Forwarded-Prefix` says where
    its `/` is here.
    """
    prefix = here.request.url.path.removesuffix(f"/{path}")
    return await _shown(here, sandbox_id, _target(here.request, port, path, prefix))


async def show_by_link(request: Request, clients: ClientsHere, link: str, path: str) -> Response:
    """The same, for whoever has the link."""
    found = _links(request).read(link)
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        return Response(status_code=204, headers=_FOR_ANYBODY)
    asker = await _behind(clients, found)
    here = await sender_at(request, clients, asker, found.sandbox, None)
    response = await _shown(
        here, found.sandbox, _target(request, found.port, path, f"{previews.PREVIEW}{link}", found.expires_at)
    )
    response.headers.update(_FOR_ANYBODY)
    return response


async def _behind(clients: Clients, link: Link) -> Asker:
    """Whose token it stands on, as long as that is one."""
    try:
        return await clients.identity.asker(link.token)
    except SignalboxError as error:
        if error.status != _UNAUTHENTICATED:
            raise
        raise PreviewEnded from error


async def with_slash(request: Request) -> Response:
    """Addresses in a page are counted from the folder that it is in."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}", 308)


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    routes.on(_method, _PORT + "/{path:path}", grant=GrantScope.PROJECT, also=_AT_PORT, **_WHATEVER)(
        show_port
    )
for _number, _method in enumerate(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")):
    routes.on(
        _method,
        _LINK + "/{path:path}",
        also=[*_AT_PORT, (410, "preview_ended")],
        include_in_schema=_number == 0,
        **_WHATEVER,
    )(show_by_link)
routes.add_api_route(_LINK, with_slash, methods=["GET"], include_in_schema=False)


@routes.websocket(_PORT + "/{path:path}")
async def speak_with_port(socket: WebSocket, sandbox_id: uuid.UUID, port: int, path: str) -> None:
    clients: Clients = socket.app.state.clients
    try:
        asker = await shown_by(socket)
        if asker is None:
            await socket.accept()
            asker = await said_by(socket)
        prefix = socket.url.path.removesuffix(f"/{path}")
        await _spoken(socket, clients, asker, sandbox_id, _target(socket, port, path, prefix))
    except SignalboxError as error:
        await socket.close(*close_of(error))


@routes.websocket(_LINK + "/{path:path}")
async def speak_by_link(socket: WebSocket, link: str, path: str) -> None:
    clients: Clients = socket.app.state.clients
    try:
        found = _links(socket).read(link)
        asker = await _behind(clients, found)
        target = _target(socket, found.port, path, f"{previews.PREVIEW}{link}", found.expires_at)
        await _spoken(socket, clients, asker, found.sandbox, target)
    except SignalboxError as error:
        await socket.close(*close_of(error))


async def _spoken(
    socket: WebSocket, clients: Clients, asker: Asker, sandbox: uuid.UUID, target: Target
) -> None:
    request = Request({**socket.scope, "type": "http", "method": "GET"})
    here = await sender_at(request, clients, asker, sandbox, contract.EXECUTE)
    async with client_at(here, sandbox, contract.EXECUTE) as client:
        opening = client.tunnel(contract.CONNECT_TO_PORT, sandbox=str(sandbox), port=str(target.port))
        async with opening as tunnel:
            await previews.converse(socket, asker, tunnel, target)


def _target(
    request: Request | WebSocket, port: int, path: str, prefix: str, ends_at: float | None = None
) -> Target:
    query = f"?{request.url.query}" if request.url.query else ""
    raw = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    shown = raw[len(prefix) :] if raw.startswith(prefix) else f"/{path}"
    return Target(port, f"{shown or '/'}{query}", prefix, request.headers.get("host", ""), ends_at)


def _links(request: Request | WebSocket) -> Links:
    links: Links = request.app.state.preview_links
    return links
