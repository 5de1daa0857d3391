"""Operations: what became of a command."""

from typing import Any

from signalbox_common.contracts.base import GrantScope
from signalbox_common.contracts.operations import GetOperation
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.answers import Operation
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/operations", "operations")

NOT_FOUND = (404, "operation_not_found")


@routes.on("GET", "/{operation_id}", GetOperation, reply=Operation, grant=GrantScope.PERSON, also=[NOT_FOUND])
async def get_operation(operation_id: str, asker: CurrentAsker, clients: ClientsHere) -> dict[str, Any]:
    return await clients.operation(asker, operation_id)
