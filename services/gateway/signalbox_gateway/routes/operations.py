"""Operations: what became of a command, and an end to it before it is done."""

from typing import Any

from fastapi import Request

from signalbox_common.contracts.base import GrantScope
from signalbox_common.contracts.operations import CancelOperation, GetOperation
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.answers import Operation
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/operations", "operations")

NOT_FOUND = (404, "operation_not_found")


@routes.on("GET", "/{operation_id}", GetOperation, reply=Operation, grant=GrantScope.PERSON, also=[NOT_FOUND])
async def get_operation(operation_id: str, asker: CurrentAsker, clients: ClientsHere) -> dict[str, Any]:
    return await clients.operation(asker, operation_id)


@routes.on("POST", "/{operation_id}/cancel", CancelOperation, reply=Operation)
async def cancel_operation(
    request: Request, operation_id: str, asker: CurrentAsker, clients: ClientsHere
) -> dict[str, Any]:
    return await clients.cancel(request, asker, operation_id)
