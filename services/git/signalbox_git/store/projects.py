"""Projects that were deleted, and the clock."""

import uuid
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_DELETED = text("insert into git.deleted_projects (project_id) values (:project) on conflict do nothing")
_RESTORED = text("delete from git.deleted_projects where project_id = :project")
_IS_DELETED = text("select exists (select from git.deleted_projects where project_id = :project)")
_END = text(
    """
    with gone as (
        select project_id from git.deleted_projects
        where deleted_at < git.clock() - :days * interval '1 day' order by project_id for update
    ), hosts as (
        delete from git.host_credentials where project_id in (select project_id from gone)
    )
    update git.repositories set credential = null, signing_key = null,
        deleted_at = coalesce(deleted_at, git.clock())
    where project_id in (select project_id from gone)
    and (deleted_at is null or credential is not null or signing_key is not null)
    """
)
_ENDED = text(
    "select project_id from git.deleted_projects where deleted_at < git.clock() - :days * interval '1 day'"
)
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


async def end(transaction: Transaction, days: int) -> None:
    """What those had that were deleted so long ago: repositories, and what they were reached with.

    One that is restored in the same moment keeps it all, or nothing.
    """
    await transaction.connection.execute(_END, {"days": days})


async def ended(connection: AsyncConnection, days: int) -> set[uuid.UUID]:
    return {row.project_id for row in await connection.execute(_ENDED, {"days": days})}


async def set_deleted(transaction: Transaction, project: uuid.UUID, *, deleted: bool) -> None:
    await transaction.connection.execute(_DELETED if deleted else _RESTORED, {"project": project})
