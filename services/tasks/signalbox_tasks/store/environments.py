"""Variables that tasks refer to; their values lie in the secret store."""

import uuid
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_NAMED = (
    "(exists (select from tasks.tasks where tasks.environment = environments.id) or exists ("
    "select from tasks.runs where wish -> 'exec' ->> 'environment' = cast(environments.id as text)) "
    "or exists (select from tasks.schedules where schedules.environment = environments.id) "
    "or exists (select from tasks.triggers where triggers.environment = environments.id))"
)
"""By a task, by a run that wants something else than its task, or by a schedule."""
_ADD = text(
    "insert into tasks.environments (id, project_id, created_at) values (:id, :project, tasks.clock())"
)
_HOLD = text("select id from tasks.environments where id = :id and project_id = :project for update")
_UNUSED = text(
    "select id from tasks.environments "  # noqa: S608 - words of ours
    "where created_at < tasks.clock() - interval '1 day' "
    f"and not {_NAMED} limit 1000"
)
_LOCK = text("select id from tasks.environments where id = :id for update")
_REMOVE = text(
    f"delete from tasks.environments where id = :id and not {_NAMED} returning id"  # noqa: S608 - as above
)


async def add(transaction: Transaction, project: uuid.UUID, environment: uuid.UUID) -> None:
    await transaction.connection.execute(_ADD, {"id": environment, "project": project})


async def hold(transaction: Transaction, project: uuid.UUID, environment: uuid.UUID) -> bool:
    """Whether it is there, and stays to the end of the transaction."""
    values = {"id": environment, "project": project}
    return (await transaction.connection.execute(_HOLD, values)).first() is not None


async def unused(connection: AsyncConnection) -> Sequence[uuid.UUID]:
    """Which nothing has named within a day."""
    return (await connection.execute(_UNUSED)).scalars().all()


async def remove(transaction: Transaction, environment: uuid.UUID) -> bool:
    """Unless a task names it after all: locked first, so that one which is about to is seen."""
    await transaction.connection.execute(_LOCK, {"id": environment})
    return (await transaction.connection.execute(_REMOVE, {"id": environment})).first() is not None
