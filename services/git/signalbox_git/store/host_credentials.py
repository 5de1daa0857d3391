"""Credentials of a project for whole hosts: all but the secrets themselves."""

import uuid
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import Forge
from signalbox_common.db import Transaction
from signalbox_git.domain import HostCredential

_COLUMNS = tuple(field.name for field in fields(HostCredential))

_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
_SELECT = f"select {', '.join(_COLUMNS)} from git.host_credentials"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.host_credentials ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(f':{name}' for name in _COLUMNS)}) "
    f"on conflict (project_id, host) do update set {_REPLACED}"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_FOR_HOST = text(f"{_SELECT} where project_id = :project and host = :host")
_LIST = text(f"{_SELECT} where project_id = :project order by host limit 200")
_REMOVE = text("delete from git.host_credentials where id = :id and project_id = :project")
_PLACE = text("select project_id from git.host_credentials where id = :id")


def _one(row: Row[Any] | None) -> HostCredential | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    return HostCredential(**values | {"forge": Forge(row.forge)})


async def put(transaction: Transaction, found: HostCredential) -> None:
    """In the place of the one for that host."""
    await transaction.connection.execute(_INSERT, {name: getattr(found, name) for name in _COLUMNS})


async def get(
    connection: AsyncConnection, project: uuid.UUID, credential: uuid.UUID
) -> HostCredential | None:
    return _one((await connection.execute(_GET, {"id": credential, "project": project})).first())


async def for_host(connection: AsyncConnection, project: uuid.UUID, host: str) -> HostCredential | None:
    return _one((await connection.execute(_FOR_HOST, {"project": project, "host": host})).first())


async def of_project(connection: AsyncConnection, project: uuid.UUID) -> list[HostCredential]:
    """By host."""
    rows = await connection.execute(_LIST, {"project": project})
    return [found for row in rows if (found := _one(row)) is not None]


async def remove(transaction: Transaction, project: uuid.UUID, credential: uuid.UUID) -> None:
    await transaction.connection.execute(_REMOVE, {"id": credential, "project": project})


async def place(connection: AsyncConnection, credential: uuid.UUID) -> uuid.UUID | None:
    """Its project, whichever that is."""
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": credential})).scalar()
    return found
