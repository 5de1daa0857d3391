"""Routes of a gateway in front of a lab service on the data plane."""

import uuid
from typing import Any

from fastapi import Request, WebSocket
from starlette.responses import Response

from signalbox_common.contracts.base import GrantScope
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_gateway.bytes_proxy import BytesProxy, Place
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import Routes
from tests.support.bytes_lab import FOLLOW, IDLE, PUT, READ

BYTES: dict[str, Any] = {"response_class": Response, "grant": GrantScope.PROJECT}


def bytes_routes(address: str) -> Routes:
    """In front of whoever listens there."""
    routes = Routes("/api/v1/lab/{project_id}", "lab")

    def place(project_id: uuid.UUID, route: DataRoute, **names: str) -> Place:
        return Place(route, address, project_id, names)

    @routes.on("PUT", "/changes/{sha256}", takes="anything", **BYTES)
    async def put(
        request: Request, project_id: uuid.UUID, sha256: str, asker: CurrentAsker, clients: ClientsHere
    ) -> Response:
        return await clients.bytes.upload(request, asker, place(project_id, PUT, sha256=sha256))

    @routes.on("GET", "/files/{name}", **BYTES)
    async def read(
        project_id: uuid.UUID, name: str, asker: CurrentAsker, clients: ClientsHere, offset: int = 0
    ) -> Response:
        return await clients.bytes.download(asker, place(project_id, READ, name=name), offset)

    @routes.on("GET", "/files/{name}/events", **BYTES)
    async def events(
        request: Request, project_id: uuid.UUID, name: str, asker: CurrentAsker, clients: ClientsHere
    ) -> Response:
        return await clients.bytes.events(request, asker, place(project_id, READ, name=name))

    @routes.on("GET", "/follow", **BYTES)
    async def follow(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
        return await clients.bytes.download(asker, place(project_id, FOLLOW))

    @routes.on("GET", "/idle", **BYTES)
    async def idle(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
        return await clients.bytes.download(asker, place(project_id, IDLE))

    @routes.on("GET", "/idle/events", **BYTES)
    async def idle_events(
        request: Request, project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere
    ) -> Response:
        return await clients.bytes.events(request, asker, place(project_id, IDLE))

    @routes.websocket("/{what}/ws")
    async def socket(socket: WebSocket, project_id: uuid.UUID, what: str, token: str) -> None:
        proxy: BytesProxy = socket.app.state.clients.bytes
        asker = await socket.app.state.clients.identity.asker(token)
        await socket.accept()
        named = {"follow": FOLLOW, "idle": IDLE}
        found = place(project_id, named[what]) if what in named else place(project_id, READ, name=what)
        await proxy.socket(socket, asker, found)

    return routes
