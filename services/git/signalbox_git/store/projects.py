"""Projects that were deleted, and the clock."""

import uuid
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_DELETED = text("insert into git.deleted_projects (project_id) values (:project) on conflict do nothing")
_RESTORED = text("delete from git.deleted_projects where project_id = :project")
_IS_DELETED = text("select exists (select from git.deleted_projects where project_id = :project)")
_MOMENT = text(
    "select git.clock() as moment, "
    "exists (select from git.deleted_projects where project_id = :project) as is_deleted"
)


async def moment(transaction: Transaction, project: uuid.UUID) -> tuple[datetime, bool]:
    """By the clock of the database, and whether that project is deleted."""
    row = (await transaction.connection.execute(_MOMENT, {"project": project})).one()
    return row.moment, row.is_deleted


async def is_deleted(connection: AsyncConnection, project: uuid.UUID) -> bool:
    return bool((await connection.execute(_IS_DELETED, {"project": project})).scalar())


async def set_deleted(transaction: Transaction, project: uuid.UUID, *, deleted: bool) -> None:
    await transaction.connection.execute(_DELETED if deleted else _RESTORED, {"project": project})
