"""Repositories."""

import json
import uuid
from collections.abc import Collection
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import DeliveryPolicy, Forge, RepositoryStatus
from signalbox_common.db import Transaction
from signalbox_git.domain import Repository

_COLUMNS = tuple(field.name for field in fields(Repository))
_FIXED = frozenset({"id", "project_id", "created_by", "created_at"})


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in ("setup", "protected", "policy") else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from git.repositories"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.repositories ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))}) on conflict do nothing returning id"
)
_UPDATE = text(
    "update git.repositories set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _COLUMNS if name not in _FIXED)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project and deleted_at is null")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project and deleted_at is null for update")
_CALLED = text(f"{_SELECT} where project_id = :project and lower(name) = lower(:name) and deleted_at is null")
_TAKEN = text(
    "select exists (select from git.repositories where project_id = :project and id <> :id "
    "and deleted_at is null and (lower(name) = lower(:name) or url = :url))"
)
_PLACE = text("select project_id from git.repositories where id = :id")
_PAGE = text(
    f"{_SELECT} where project_id = :project and deleted_at is null "
    "and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit"
)
_ADDRESSES = text(
    "select id, url from git.repositories where id = any(cast(:ids as uuid[])) and deleted_at is null"
)
_WITH_CREDENTIALS = text(
    f"{_SELECT} where project_id = :project and credential is not null and deleted_at is null"
)
_REFERS = text(
    "select exists (select from git.repositories where :credential in (credential, signing_key)) "
    "or exists (select from git.host_credentials where credential = :credential)"
)
_CREDENTIALS = text(
    "select credential from git.repositories where credential is not null "
    "union select signing_key from git.repositories where signing_key is not null "
    "union select credential from git.host_credentials"
)
_SIZE = text(
    "select coalesce(sum(size_bytes), 0) from git.repositories "
    "where project_id = :project and deleted_at is null"
)
_FORGET = text(
    "delete from git.repositories where deleted_at < git.clock() - :days * interval '1 day' "
    "and not exists (select from git.checkouts where repository_id = repositories.id) "
    "and not exists (select from git.change_deliveries where repository_id = repositories.id) "
    "and not exists (select from git.pull_requests where repository_id = repositories.id)"
)


def _row_of(found: Repository) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in _COLUMNS}
    protected = json.dumps(list(found.protected)) if found.protected is not None else None
    policy = found.policy.model_dump_json()
    return values | {"setup": json.dumps(list(found.setup)), "protected": protected, "policy": policy}


def _one(row: Row[Any] | None) -> Repository | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    values |= {
        "forge": Forge(row.forge),
        "status": RepositoryStatus(row.status),
        "setup": tuple(row.setup),
        "protected": tuple(row.protected) if row.protected is not None else None,
        "policy": DeliveryPolicy.model_validate(row.policy or {}),
    }
    return Repository(**values)


async def add(transaction: Transaction, found: Repository) -> bool:
    """False where the project has one of that name, or at that address."""
    return (await transaction.connection.execute(_INSERT, _row_of(found))).first() is not None


async def save(transaction: Transaction, found: Repository) -> None:
    values = {name: value for name, value in _row_of(found).items() if name not in _FIXED - {"id"}}
    await transaction.connection.execute(_UPDATE, values)


async def is_taken(transaction: Transaction, found: Repository) -> bool:
    """Whether another one of the project has its name or its address."""
    values = {"project": found.project_id, "id": found.id, "name": found.name, "url": found.url}
    return bool((await transaction.connection.execute(_TAKEN, values)).scalar())


async def get(connection: AsyncConnection, project: uuid.UUID, repository: uuid.UUID) -> Repository | None:
    return _one((await connection.execute(_GET, {"id": repository, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, repository: uuid.UUID) -> Repository | None:
    values = {"id": repository, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def called(connection: AsyncConnection, project: uuid.UUID, name: str) -> Repository | None:
    return _one((await connection.execute(_CALLED, {"project": project, "name": name})).first())


async def place(connection: AsyncConnection, repository: uuid.UUID) -> uuid.UUID | None:
    """Its project, whichever that is."""
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": repository})).scalar()
    return found


async def page(
    connection: AsyncConnection, project: uuid.UUID, *, limit: int, before: uuid.UUID | None = None
) -> list[Repository]:
    values = {"project": project, "limit": limit, "before": before}
    return [found for row in await connection.execute(_PAGE, values) if (found := _one(row)) is not None]


async def addresses(connection: AsyncConnection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Of those of them that are there, whichever project they are in."""
    return {row.id: row.url for row in await connection.execute(_ADDRESSES, {"ids": list(ids)})}


async def with_credentials(connection: AsyncConnection, project: uuid.UUID) -> list[Repository]:
    rows = await connection.execute(_WITH_CREDENTIALS, {"project": project})
    return [found for row in rows if (found := _one(row)) is not None]


async def refers_to(connection: AsyncConnection, credential: uuid.UUID) -> bool:
    return bool((await connection.execute(_REFERS, {"credential": credential})).scalar())


async def credentials(connection: AsyncConnection) -> set[uuid.UUID]:
    """All that are in use, of all projects."""
    return {row.credential for row in await connection.execute(_CREDENTIALS)}


async def size(connection: AsyncConnection, project: uuid.UUID) -> int:
    """Of what is kept of all of a project."""
    return int((await connection.execute(_SIZE, {"project": project})).scalar_one())


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
