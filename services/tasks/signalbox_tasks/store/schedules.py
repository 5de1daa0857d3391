"""Schedules, what comes next of them, and what became of their times.

Who changes one locks it first, and then the project.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import Misfire, Overlap, ScheduledTask
from signalbox_common.db import Transaction, write_unique
from signalbox_common.paging import read_id_cursor, read_number_cursor
from signalbox_tasks import errors
from signalbox_tasks.schedules import Schedule, Times

_COLUMNS = (
    *("id", "project_id", "name", "cron", "at", "every", "timezone", "since", "task", "environment"),
    *("misfire", "misfire_limit", "late_after", "overlap", "paused", "reason", "next_at", "last_at"),
    *("last_task", "authority", "proof_at", "delegated", "acts_for", "acts_for_name"),
    *("created_by", "created_at", "updated_at", "version"),
)
_FIXED = frozenset({"id", "project_id", "created_by", "created_at"})
_CHANGING = tuple(name for name in _COLUMNS if name not in _FIXED)


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name == "task" else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from tasks.schedules"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.schedules ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update tasks.schedules set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_LOCK_UNDER = text(f"{_SELECT} where authority = :authority for update")
_PLACE = text("select project_id from tasks.schedules where id = :id")
_REMOVE = text("delete from tasks.schedules where id = :id")
_COUNT = text("select count(*) from tasks.schedules where project_id = :project")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:last as uuid) is null or id < :last) "
    "and (cast(:words as text) is null or position(lower(:words) in lower(name)) > 0) "
    "order by id desc limit :limit"
)
_ATTACH = text(
    "insert into tasks.schedule_attachments (schedule_id, attachment_id) values (:schedule, :attachment)"
)
_DETACH = text("delete from tasks.schedule_attachments where schedule_id = :schedule")
_DUE = text(
    f"{_SELECT} where next_at <= tasks.clock() and delegated and not exists (select from tasks.projects "
    "where projects.project_id = schedules.project_id and deleted_at is not null) "
    "and (cast(:only as uuid) is null or id = :only) "
    "order by next_at, project_id limit :limit for update skip locked"
)
_DUE_IDS = text(
    "select id from tasks.schedules where next_at <= tasks.clock() and delegated "
    "order by next_at limit :limit"
)
_NEXT_IN = text(
    "select extract(epoch from min(next_at) - tasks.clock()) from tasks.schedules "
    "where next_at > tasks.clock() and delegated"
)
_STOP = text(
    "update tasks.schedules set paused = true, reason = :reason, next_at = null, version = version + 1 "
    "where id = :id"
)
_MOVE = text(
    "update tasks.schedules set next_at = :next_at, last_at = :last_at, last_task = :last_task where id = :id"
)
_LEFT = text(
    "select schedule, run from tasks.tasks where schedule = any(cast(:schedules as uuid[])) "
    "and completed_at is null order by id"
)
_NOTE = text(
    "insert into tasks.firings (schedule_id, due_at, until, times, outcome, reason, detail, task_id, run_id, "
    "asked_by, fired_at) values (:schedule, :due_at, :until, :times, :outcome, :reason, :detail, "
    "cast(:task_id as uuid), cast(:run_id as uuid), cast(:asked_by as uuid), :fired_at)"
)
_FIRINGS = text(
    "select id, due_at, until, times, outcome, reason, detail, task_id, run_id, asked_by, fired_at "
    "from tasks.firings where schedule_id = :schedule and (cast(:before as bigint) is null or id < :before) "
    "order by id desc limit :limit"
)
_FORGET = text(
    "delete from tasks.firings where id in (select id from tasks.firings "
    "where fired_at < tasks.clock() - :days * interval '1 day' order by fired_at limit 5000)"
)
_FORGET_ALL = text(
    "delete from tasks.schedules where project_id in (select project_id from tasks.projects "
    "where deleted_at < tasks.clock() - :days * interval '1 day') returning authority"
)


@dataclass(frozen=True)
class Fired:
    """What became of one time, or of several that were missed."""

    schedule: uuid.UUID
    due_at: datetime
    until: datetime
    outcome: str
    fired_at: datetime
    times: int = 1
    reason: str | None = None
    detail: str | None = None
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    asked_by: uuid.UUID | None = None


def _row_of(schedule: Schedule) -> dict[str, Any]:
    times, of_exec = schedule.times, schedule.task.spec.exec
    names = {*_COLUMNS} - {"cron", "at", "every", "timezone", "since", "task", "environment"}
    return {name: getattr(schedule, name) for name in names} | {
        "cron": times.cron,
        "at": times.at,
        "every": times.every,
        "timezone": times.timezone,
        "since": times.since,
        "task": schedule.task.model_dump_json(by_alias=True),
        "environment": of_exec.environment if of_exec is not None else None,
    }


def _one(row: Row[Any] | None) -> Schedule | None:
    return _schedule_of(row) if row is not None else None


def _schedule_of(row: Row[Any]) -> Schedule:
    at = row.at.astimezone(UTC) if row.at is not None else None
    return Schedule(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        times=Times(cron=row.cron, at=at, every=row.every, timezone=row.timezone, since=row.since),
        task=ScheduledTask.model_validate(row.task),
        misfire=Misfire(row.misfire),
        misfire_limit=row.misfire_limit,
        late_after=row.late_after,
        overlap=Overlap(row.overlap),
        paused=row.paused,
        reason=row.reason,
        next_at=row.next_at,
        last_at=row.last_at,
        last_task=row.last_task,
        authority=row.authority,
        proof_at=row.proof_at,
        delegated=row.delegated,
        acts_for=row.acts_for,
        acts_for_name=row.acts_for_name,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )


async def add(transaction: Transaction, schedule: Schedule) -> None:
    """Raises ScheduleExists where another one has its name."""
    await write_unique(transaction, _INSERT, _row_of(schedule), errors.ScheduleExists)
    await _attach(transaction, schedule)


async def save(transaction: Transaction, schedule: Schedule) -> None:
    """The same, of what somebody has changed."""
    values = _row_of(schedule)
    await write_unique(
        transaction, _UPDATE, {name: values[name] for name in ("id", *_CHANGING)}, errors.ScheduleExists
    )
    await transaction.connection.execute(_DETACH, {"schedule": schedule.id})
    await _attach(transaction, schedule)


async def _attach(transaction: Transaction, schedule: Schedule) -> None:
    wanted = dict.fromkeys(schedule.task.spec.attachments)
    if wanted:
        rows = [{"schedule": schedule.id, "attachment": each} for each in wanted]
        await transaction.connection.execute(_ATTACH, rows)


async def get(connection: AsyncConnection, project: uuid.UUID, schedule: uuid.UUID) -> Schedule | None:
    return _one((await connection.execute(_GET, {"id": schedule, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, schedule: uuid.UUID) -> Schedule | None:
    values = {"id": schedule, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def lock_under(transaction: Transaction, authority: uuid.UUID) -> Schedule | None:
    return _one((await transaction.connection.execute(_LOCK_UNDER, {"authority": authority})).first())


async def place(connection: AsyncConnection, schedule: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": schedule})).scalar()
    return found


async def remove(transaction: Transaction, schedule: uuid.UUID) -> None:
    await transaction.connection.execute(_REMOVE, {"id": schedule})


async def of_project(transaction: Transaction, project: uuid.UUID) -> int:
    return int((await transaction.connection.execute(_COUNT, {"project": project})).scalar_one())


async def page(
    connection: AsyncConnection, project: uuid.UUID, *, words: str | None, cursor: str | None, limit: int
) -> list[Schedule]:
    """Newest first."""
    values = {"project": project, "words": words, "last": read_id_cursor(cursor), "limit": limit}
    return list(map(_schedule_of, await connection.execute(_PAGE, values)))


# -- their times -------------------------------------------------------------------------------------------


async def due(transaction: Transaction, limit: int, *, only: uuid.UUID | None = None) -> list[Schedule]:
    """Those whose time has come, locked; what another instance is at is left to it."""
    values = {"limit": limit, "only": only}
    return list(map(_schedule_of, await transaction.connection.execute(_DUE, values)))


async def due_ids(connection: AsyncConnection, limit: int) -> Sequence[uuid.UUID]:
    """The same, unread."""
    return (await connection.execute(_DUE_IDS, {"limit": limit})).scalars().all()


async def stop_unread(transaction: Transaction, schedule: uuid.UUID, reason: str) -> None:
    """One of which nobody can tell what it says."""
    await transaction.connection.execute(_STOP, {"id": schedule, "reason": reason})


async def next_in(connection: AsyncConnection) -> float | None:
    """Seconds until the next time that is still to come."""
    found = (await connection.execute(_NEXT_IN)).scalar()
    return float(found) if found is not None else None


async def move(transaction: Transaction, schedules: Sequence[Schedule]) -> None:
    """To what comes next."""
    rows = [
        {"id": each.id, "next_at": each.next_at, "last_at": each.last_at, "last_task": each.last_task}
        for each in schedules
    ]
    if rows:
        await transaction.connection.execute(_MOVE, rows)


async def left(
    transaction: Transaction, schedules: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[uuid.UUID]]:
    """The newest runs of their tasks that have not ended, the oldest first."""
    found: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in await transaction.connection.execute(_LEFT, {"schedules": list(schedules)}):
        found.setdefault(row.schedule, []).append(row.run)
    return found


async def note(transaction: Transaction, fired: Sequence[Fired]) -> None:
    """Once for each time: a second firing of the same one cannot be written."""
    if fired:
        await transaction.connection.execute(_NOTE, [vars(each) for each in fired])


async def firings(
    connection: AsyncConnection, schedule: uuid.UUID, *, cursor: str | None, limit: int
) -> list[contract.Firing]:
    """Newest first."""
    values = {"schedule": schedule, "before": read_number_cursor(cursor), "limit": limit}
    rows = await connection.execute(_FIRINGS, values)
    return [contract.Firing.model_validate(dict(row)) for row in rows.mappings()]


# -- what is left of them ----------------------------------------------------------------------------------


async def forget(transaction: Transaction, days: int) -> Sequence[uuid.UUID]:
    """What became of their times so long ago, and those of projects that were deleted then; returns under
    what those acted."""
    await transaction.connection.execute(_FORGET, {"days": days})
    return (await transaction.connection.execute(_FORGET_ALL, {"days": days})).scalars().all()
