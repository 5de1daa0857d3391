"""Templates."""

import json
import uuid
from dataclasses import fields

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction
from signalbox_sandbox.domain import Template

_COLUMNS = tuple(field.name for field in fields(Template))
_SELECT = f"select {', '.join(_COLUMNS)} from sandbox.templates"  # noqa: S608 - names of ours
_EVERY = text(f"{_SELECT} where project_id = :project and removed_at is null order by name")
_SIZE = text(
    "select coalesce(sum(size_bytes), 0) from sandbox.templates "
    "where project_id = :project and removed_at is null"
)
_CALLED = text(f"{_SELECT} where project_id = :project and name = :name and removed_at is null")
_OF_LAYER = text(f"{_SELECT} where id = :layer")
_REMOVE = text(
    "update sandbox.templates set removed_at = sandbox.clock() "
    "where project_id = :project and name = :name and removed_at is null returning id"
)
_KEEP = text(
    "insert into sandbox.templates (id, project_id, name, digest, env, size_bytes, created_by, created_at) "
    "values (:id, :project_id, :name, :digest, cast(:env as jsonb), :size_bytes, :created_by, :created_at) "
    "on conflict (id) do nothing"
)
_REMOVE_OF_DELETED = text(
    "update sandbox.templates set removed_at = sandbox.clock() from sandbox.deleted_projects "
    "where templates.project_id = deleted_projects.project_id and removed_at is null "
    "and deleted_at < sandbox.clock() - :days * interval '1 day'"
)
_LAYERS_IN_USE = text(
    "select id from sandbox.templates where removed_at is null union select layer from sandbox.sandboxes "
    "where layer is not null and status in ('creating', 'running', 'paused')"
)
_FORGET_LAYER = text("delete from sandbox.templates where id = :layer and removed_at is not null")


async def every(connection: AsyncConnection, project: uuid.UUID) -> list[Template]:
    return [Template(*row) for row in await connection.execute(_EVERY, {"project": project})]


async def size(connection: AsyncConnection, project: uuid.UUID) -> int:
    """Of all together."""
    return int((await connection.execute(_SIZE, {"project": project})).scalar_one())


async def called(connection: AsyncConnection, project: uuid.UUID, name: str) -> Template | None:
    row = (await connection.execute(_CALLED, {"project": project, "name": name})).first()
    return Template(*row) if row is not None else None


async def of_layer(connection: AsyncConnection, layer: uuid.UUID) -> Template | None:
    """Also one that was removed, as long as something is made of it."""
    row = (await connection.execute(_OF_LAYER, {"layer": layer})).first()
    return Template(*row) if row is not None else None


async def remove(transaction: Transaction, project: uuid.UUID, name: str) -> bool:
    """What is made of it goes on."""
    values = {"project": project, "name": name}
    return (await transaction.connection.execute(_REMOVE, values)).first() is not None


async def remove_of_deleted(transaction: Transaction, days: int) -> None:
    """Of projects that were deleted so long ago."""
    await transaction.connection.execute(_REMOVE_OF_DELETED, {"days": days})


async def keep(transaction: Transaction, kept: Template) -> None:
    """In the place of the one of that name; once."""
    if await of_layer(transaction.connection, kept.id) is not None:
        return
    await remove(transaction, kept.project_id, kept.name)
    values = {name: getattr(kept, name) for name in _COLUMNS} | {"env": json.dumps(dict(kept.env))}
    await transaction.connection.execute(_KEEP, values)


async def layers_in_use(connection: AsyncConnection) -> set[uuid.UUID]:
    return set((await connection.execute(_LAYERS_IN_USE)).scalars())


async def forget_layer(connection: AsyncConnection, layer: uuid.UUID) -> None:
    await connection.execute(_FORGET_LAYER, {"layer": layer})
