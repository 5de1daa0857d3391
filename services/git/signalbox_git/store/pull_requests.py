"""Pull requests."""

import uuid
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import PullRequestState
from signalbox_common.db import Transaction
from signalbox_git.domain import PullRequest

_COLUMNS = tuple(field.name for field in fields(PullRequest))
_CHANGING = ("url", "state", "head", "base", "title", "commit", "run", "task", "seen_at", "version")

_SELECT = f"select {', '.join(_COLUMNS)} from git.pull_requests"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.pull_requests ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(f':{name}' for name in _COLUMNS)}) "
    "on conflict (repository_id, number) do nothing returning id"
)
_UPDATE = text(
    "update git.pull_requests set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = :{name}" for name in _CHANGING)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_NUMBERED = text(f"{_SELECT} where repository_id = :repository and number = :number for update")
_PLACE = text("select project_id from git.pull_requests where id = :id")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:before as uuid) is null or id < :before) "
    "and (cast(:repository as uuid) is null or repository_id = :repository) "
    "and (cast(:state as text) is null or state = :state) order by id desc limit :limit"
)
_FORGET = text(
    "delete from git.pull_requests where repository_id in (select id from git.repositories "
    "where deleted_at < git.clock() - :days * interval '1 day')"
)


def _one(row: Row[Any] | None) -> PullRequest | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    return PullRequest(**values | {"state": PullRequestState(row.state)})


async def add(transaction: Transaction, found: PullRequest) -> bool:
    """False where there is one of that number."""
    values = {name: getattr(found, name) for name in _COLUMNS}
    return (await transaction.connection.execute(_INSERT, values)).first() is not None


async def save(transaction: Transaction, found: PullRequest) -> None:
    await transaction.connection.execute(_UPDATE, {name: getattr(found, name) for name in ("id", *_CHANGING)})


async def get(connection: AsyncConnection, project: uuid.UUID, pull_request: uuid.UUID) -> PullRequest | None:
    return _one((await connection.execute(_GET, {"id": pull_request, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, pull_request: uuid.UUID) -> PullRequest | None:
    values = {"id": pull_request, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def numbered(transaction: Transaction, repository: uuid.UUID, number: int) -> PullRequest | None:
    """Locked."""
    values = {"repository": repository, "number": number}
    return _one((await transaction.connection.execute(_NUMBERED, values)).first())


async def place(connection: AsyncConnection, pull_request: uuid.UUID) -> uuid.UUID | None:
    """Its project, whichever that is."""
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": pull_request})).scalar()
    return found


async def page(
    connection: AsyncConnection,
    project: uuid.UUID,
    *,
    limit: int,
    repository: uuid.UUID | None = None,
    state: PullRequestState | None = None,
    before: uuid.UUID | None = None,
) -> list[PullRequest]:
    values = {
        "project": project,
        "limit": limit,
        "before": before,
        "repository": repository,
        "state": state,
    }
    return [found for row in await connection.execute(_PAGE, values) if (found := _one(row)) is not None]


async def forget(transaction: Transaction, days: int) -> None:
    """Those of repositories that were deleted so long ago."""
    await transaction.connection.execute(_FORGET, {"days": days})
