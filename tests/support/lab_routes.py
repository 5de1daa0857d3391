"""Routes of a gateway in front of a lab service."""

import uuid

from fastapi import Request
from starlette.responses import Response

from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import Routes
from tests.support.lab import Jot, Order

routes = Routes("/api/v1/lab/{project_id}", "lab")


@routes.on("POST", "/orders", Order)
async def order(
    request: Request, project_id: uuid.UUID, body: Order, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    return await clients.command(request, asker, body, status=200, project=project_id)


@routes.on("POST", "/jots", Jot)
async def jot(
    request: Request, project_id: uuid.UUID, body: Jot, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    return await clients.command(request, asker, body, status=200, project=project_id)
