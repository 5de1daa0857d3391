"""The steps of runs."""

import json
import uuid
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import RunError, StepName, StepState
from signalbox_common.db import Transaction
from signalbox_tasks.domain import Step

_COLUMNS = "name, state, started_at, finished_at, detail, error, request"
_BEGIN = text(
    "insert into tasks.steps (run_id, name, state, started_at) "
    "values (:run, :name, 'running', tasks.clock()) on conflict do nothing"
)
_END = text(
    "insert into tasks.steps (run_id, name, state, started_at, finished_at, detail, error) "
    "values (:run, :name, :state, tasks.clock(), tasks.clock(), :detail, cast(:error as jsonb)) "
    "on conflict (run_id, name) do update set state = excluded.state, finished_at = excluded.finished_at, "
    "detail = excluded.detail, error = excluded.error"
)
_REQUEST = text(
    "update tasks.steps set request = cast(:request as jsonb) where run_id = :run and name = :name"
)
_OF_RUN = text(f"select {_COLUMNS} from tasks.steps where run_id = :run order by started_at, name")  # noqa: S608 - names of ours


def _one(row: Row[Any]) -> Step:
    return Step(
        name=StepName(row.name),
        state=StepState(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        detail=row.detail,
        error=RunError.model_validate(row.error) if row.error is not None else None,
        request=row.request,
    )


async def begin(transaction: Transaction, run: uuid.UUID, name: StepName) -> None:
    await transaction.connection.execute(_BEGIN, {"run": run, "name": name})


async def end(
    transaction: Transaction,
    run: uuid.UUID,
    name: StepName,
    state: StepState,
    *,
    detail: str | None = None,
    error: RunError | None = None,
) -> None:
    values = {
        "run": run,
        "name": name,
        "state": state,
        "detail": detail,
        "error": error.model_dump_json(by_alias=True) if error is not None else None,
    }
    await transaction.connection.execute(_END, values)


async def keep_request(
    transaction: Transaction, run: uuid.UUID, name: StepName, request: dict[str, Any]
) -> None:
    """Before it is sent, so that each try sends the same."""
    values = {"run": run, "name": name, "request": json.dumps(request)}
    await transaction.connection.execute(_REQUEST, values)


async def of_run(connection: AsyncConnection, run: uuid.UUID) -> list[Step]:
    return [_one(row) for row in await connection.execute(_OF_RUN, {"run": run})]
