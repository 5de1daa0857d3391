"""What each project has under way, and the time that this service has lived."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

LONGEST_BEAT = 10.0
"""Seconds between two looks that count, at most: a clock that jumps ends nothing."""

_NOTE = text("insert into tasks.projects (project_id) values (:project) on conflict do nothing")
_COUNTED = "seconds + greatest(0, least(:beat, extract(epoch from tasks.clock() - seen_at)))"
_LOCK = text(
    "select active, queued, deleted_at is not null as is_deleted, tasks.clock() as moment, "  # noqa: S608 - words of ours
    f"(select {_COUNTED} from tasks.lived) as lived, "
    "(select jsonb_build_object('limits', limits, 'given', given) from tasks.quotas "
    "where quotas.project_id = projects.project_id) as quotas "
    "from tasks.projects where project_id = :project for update"
)
_SAVE = text("update tasks.projects set active = :active, queued = :queued where project_id = :project")
_DELETED = text(
    "insert into tasks.projects (project_id, deleted_at) values (:project, tasks.clock()) "
    "on conflict (project_id) do update set deleted_at = excluded.deleted_at"
)
_RESTORED = text("update tasks.projects set deleted_at = null where project_id = :project")
_LEFT = text(
    "select project_id from tasks.projects where deleted_at is not null and active + queued > 0 limit 100"
)
_IS_DELETED = text(
    "select exists (select from tasks.projects where project_id = :project and deleted_at is not null)"
)
_MOMENTS = text(f"select tasks.clock() as moment, {_COUNTED} as lived from tasks.lived")  # noqa: S608 - as above
_BEAT = text(
    f"update tasks.lived set seen_at = tasks.clock(), seconds = {_COUNTED} "  # noqa: S608 - as above
    "where only_one in (select only_one from tasks.lived for update skip locked) returning seconds"
)


@dataclass
class ProjectState:
    """A project that is locked; what is counted here is saved at the end of what is done."""

    project: uuid.UUID
    active: int
    """Runs that have been let begin, and have not ended."""
    queued: int
    """Those that wait for that."""
    is_deleted: bool
    moment: datetime
    """By the clock of the database."""
    lived: float
    """Seconds that were counted until then."""
    quotas: Mapping[str, Any] | None = None
    """What was said for it beside what the installation has."""
    saved: tuple[int, int] = (0, 0)
    """What stands in the row."""


async def lock(transaction: Transaction, project: uuid.UUID) -> ProjectState:
    """To the end of the transaction: what begins and ends in a project is counted one by one."""
    values = {"project": project, "beat": LONGEST_BEAT}
    found = (await transaction.connection.execute(_LOCK, values)).first()
    if found is None:
        await transaction.connection.execute(_NOTE, {"project": project})
        found = (await transaction.connection.execute(_LOCK, values)).one()
    counts = (found.active, found.queued)
    return ProjectState(
        project, *counts, found.is_deleted, found.moment, float(found.lived), found.quotas, counts
    )


async def save(transaction: Transaction, state: ProjectState) -> None:
    """Where anything has changed."""
    counts = (state.active, state.queued)
    if counts != state.saved:
        values = {"project": state.project, "active": state.active, "queued": state.queued}
        await transaction.connection.execute(_SAVE, values)
        state.saved = counts


async def set_deleted(transaction: Transaction, project: uuid.UUID, *, deleted: bool) -> None:
    await transaction.connection.execute(_DELETED if deleted else _RESTORED, {"project": project})


async def is_deleted(transaction: Transaction, project: uuid.UUID) -> bool:
    return bool((await transaction.connection.execute(_IS_DELETED, {"project": project})).scalar_one())


async def left_behind(connection: AsyncConnection) -> list[uuid.UUID]:
    """Deleted ones that have runs yet."""
    return [row.project_id for row in await connection.execute(_LEFT)]


async def moments(transaction: Transaction) -> tuple[datetime, float]:
    """The time by the clock of the database, and the seconds that were counted."""
    row = (await transaction.connection.execute(_MOMENTS, {"beat": LONGEST_BEAT})).one()
    return row.moment, float(row.lived)


async def beat(transaction: Transaction) -> float | None:
    """Counts on; None where another instance does at this moment."""
    found = (await transaction.connection.execute(_BEAT, {"beat": LONGEST_BEAT})).scalar()
    return float(found) if found is not None else None
