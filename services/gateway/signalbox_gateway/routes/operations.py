"""Operations: what became of a command."""

from datetime import datetime
from typing import Any

from signalbox_common.contracts.base import Failure, Message, OperationStatus
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import ClientsHere, errors, router

routes = router("/api/v1/operations", "operations")


class Operation(Message):
    id: str
    command: str
    status: OperationStatus
    resource: str | None = None
    error: Failure | None = None
    created_at: datetime
    finished_at: datetime | None = None


ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Accepted; the work goes on. `Location` names its operation.", "model": Operation}
}


@routes.get("/{operation_id}", response_model=Operation, responses=errors(401, 404, 422, 503))
async def get_operation(operation_id: str, asker: CurrentAsker, clients: ClientsHere) -> dict[str, Any]:
    return await clients.operation(asker, operation_id)
