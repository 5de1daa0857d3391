"""Operations."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import GitOperationStatus, GitOperationType
from signalbox_common.db import Transaction
from signalbox_git.operations.record import Operation

_COLUMNS = tuple(field.name for field in fields(Operation))
_JSON = frozenset({"action", "author", "error", "progress"})
_CHANGING = (
    *("status", "source", "previous", "value", "commit", "made", "push_begun", "changed", "freed_bytes"),
    *("error", "cancelling", "started_at", "ended_at", "version"),
)


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from git.operations"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.operations ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update git.operations set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_PROGRESS = text("update git.operations set progress = cast(:progress as jsonb) where id = :id")
_GET = text(
    f"{_SELECT} where id = :id and project_id = :project "
    "and (cast(:repository as uuid) is null or repository_id = :repository)"
)
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:before as uuid) is null or id < :before) "
    "and (cast(:repository as uuid) is null or repository_id = :repository) "
    "and (cast(:type as text) is null or type = :type) "
    "and (cast(:status as text) is null or status = :status) order by id desc limit :limit"
)
_NEEDED = text(
    "select commit from git.checkouts where repository_id = :repository and commit is not null "
    "and (folder is not null or created_at > git.clock() - :days * interval '1 day') "
    "union select unnest(array[base, commit]) from git.change_deliveries where repository_id = :repository "
    "and (state in ('pending', 'committed') or created_at > git.clock() - :days * interval '1 day')"
)
_FORGET = text("delete from git.operations where ended_at < git.clock() - :days * interval '1 day'")


def _row_of(found: Operation) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in _COLUMNS}
    return values | {name: json.dumps(values[name]) for name in _JSON if values[name] is not None}


def _one(row: Row[Any] | None) -> Operation | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    values |= {"type": GitOperationType(row.type), "status": GitOperationStatus(row.status)}
    return Operation(**values)


async def add(transaction: Transaction, found: Operation) -> None:
    await transaction.connection.execute(_INSERT, _row_of(found))


async def save(transaction: Transaction, found: Operation) -> None:
    """All but its progress."""
    values = _row_of(found)
    await transaction.connection.execute(_UPDATE, {name: values[name] for name in ("id", *_CHANGING)})


async def save_progress(transaction: Transaction, operation: uuid.UUID, progress: Mapping[str, Any]) -> None:
    await transaction.connection.execute(_PROGRESS, {"id": operation, "progress": json.dumps(progress)})


async def get(
    connection: AsyncConnection,
    project: uuid.UUID,
    operation: uuid.UUID,
    repository: uuid.UUID | None = None,
) -> Operation | None:
    values = {"id": operation, "project": project, "repository": repository}
    return _one((await connection.execute(_GET, values)).first())


async def lock(transaction: Transaction, project: uuid.UUID, operation: uuid.UUID) -> Operation | None:
    values = {"id": operation, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def page(
    connection: AsyncConnection,
    project: uuid.UUID,
    *,
    limit: int,
    repository: uuid.UUID | None = None,
    of_type: GitOperationType | None = None,
    status: GitOperationStatus | None = None,
    before: uuid.UUID | None = None,
) -> list[Operation]:
    values = {
        "project": project,
        "limit": limit,
        "before": before,
        "repository": repository,
        "type": of_type,
        "status": status,
    }
    return [found for row in await connection.execute(_PAGE, values) if (found := _one(row)) is not None]


async def needed_commits(connection: AsyncConnection, repository: uuid.UUID, days: int) -> set[str]:
    """Which checkouts and deliveries may go on from; those that have ended, for so many days."""
    rows = await connection.execute(_NEEDED, {"repository": repository, "days": days})
    return {row.commit for row in rows if row.commit is not None}


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
