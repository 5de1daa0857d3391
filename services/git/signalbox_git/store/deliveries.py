"""Deliveries."""

import json
import uuid
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import DeliveryState
from signalbox_common.db import Transaction
from signalbox_git.domain import Delivery

_COLUMNS = tuple(field.name for field in fields(Delivery))
_JSON = frozenset({"wanted", "findings", "error", "pull_request"})
_CHANGING = (
    *("state", "commit", "branch", "expected", "push_begun"),
    *("rebased", "findings", "error", "pull_request", "note", "version"),
)


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from git.change_deliveries"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.change_deliveries ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update git.change_deliveries set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_OF_RUN = text(
    f"{_SELECT} where project_id = :project and run = :run and ordinal = :ordinal order by id desc limit 1"
)
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:before as uuid) is null or id < :before) "
    "and (cast(:repository as uuid) is null or repository_id = :repository) order by id desc limit :limit"
)
_WAS_PUSHED = text(
    "select exists (select from git.change_deliveries where project_id = :project "
    "and repository_id = :repository and branch = :branch and commit = :commit "
    "and (push_begun or state in ('pushed', 'opened')))"
)
_PLACE = text("select project_id from git.change_deliveries where id = :id")
_FORGET = text("delete from git.change_deliveries where created_at < git.clock() - :days * interval '1 day'")


def _row_of(found: Delivery) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in _COLUMNS}
    return values | {name: json.dumps(values[name]) for name in _JSON if values[name] is not None}


def _one(row: Row[Any] | None) -> Delivery | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Delivery(**values | {"state": DeliveryState(row.state), "findings": tuple(row.findings)})


async def add(transaction: Transaction, found: Delivery) -> None:
    await transaction.connection.execute(_INSERT, _row_of(found))


async def save(transaction: Transaction, found: Delivery) -> None:
    values = _row_of(found)
    await transaction.connection.execute(_UPDATE, {name: values[name] for name in ("id", *_CHANGING)})


async def get(connection: AsyncConnection, project: uuid.UUID, delivery: uuid.UUID) -> Delivery | None:
    return _one((await connection.execute(_GET, {"id": delivery, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, delivery: uuid.UUID) -> Delivery | None:
    values = {"id": delivery, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def of_run(
    connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID, ordinal: int
) -> Delivery | None:
    values = {"project": project, "run": run, "ordinal": ordinal}
    return _one((await connection.execute(_OF_RUN, values)).first())


async def page(
    connection: AsyncConnection,
    project: uuid.UUID,
    *,
    limit: int,
    repository: uuid.UUID | None = None,
    before: uuid.UUID | None = None,
) -> list[Delivery]:
    values = {"project": project, "limit": limit, "before": before, "repository": repository}
    return [found for row in await connection.execute(_PAGE, values) if (found := _one(row)) is not None]


async def place(connection: AsyncConnection, delivery: uuid.UUID) -> uuid.UUID | None:
    """Its project, whichever that is."""
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": delivery})).scalar()
    return found


async def was_pushed(
    connection: AsyncConnection, project: uuid.UUID, repository: uuid.UUID, branch: str, commit: str
) -> bool:
    """By us, to that branch."""
    values = {"project": project, "repository": repository, "branch": branch, "commit": commit}
    return bool((await connection.execute(_WAS_PUSHED, values)).scalar())


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
