"""Changes that were accepted and go on."""

import time
from collections.abc import Callable

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.client import Client
from signalbox_common.contracts.base import Failure, Message
from signalbox_common.contracts.operations import OperationStatus
from signalbox_common.errors import SignalboxError

PATIENCE = 300.0
PAUSE, LONGEST_PAUSE = 0.25, 2.0


class Operation(Message):
    id: str
    status: OperationStatus
    resource: str | None = None
    """The id of what it has created."""
    error: Failure | None = None


def wait_for(
    http: Client,
    answer: httpx.Response,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Operation | None:
    """Where the answer was only that it goes on: it is done by now, or what refused it was raised."""
    if answer.status_code != 202:
        return None
    operation = Operation.model_validate_json(answer.content)
    last = now() + PATIENCE
    pause = PAUSE
    while operation.status is OperationStatus.PENDING:
        if now() > last:
            raise Mistake(f"it was accepted and is not done yet: /api/v1/operations/{operation.id} will tell")
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        operation = _asked_again(http, operation)
    if operation.error is not None:
        raise SignalboxError.of(operation.error)
    if operation.status is not OperationStatus.SUCCEEDED:
        raise Mistake("it was lost before anybody took it: nothing was changed, try again")
    return operation


def _asked_again(http: Client, operation: Operation) -> Operation:
    try:
        return Operation.model_validate_json(http.get(f"/api/v1/operations/{operation.id}").content)
    except httpx.TransportError:
        return operation
    except SignalboxError as error:
        if error.final:
            raise
        return operation
