"""Notifications, and what is sent for them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import NoticeStatus, NotifiedStatus
from signalbox_common.db import Transaction, write_unique
from signalbox_common.paging import read_id_cursor, read_number_cursor
from signalbox_tasks import errors
from signalbox_tasks.notifications import PING, Notice, Notification

_COLUMNS = (
    *("id", "project_id", "name", "url", "states", "paused", "reason", "secret", "old_secret", "rotated_at"),
    *("failures", "rest_until", "delivered_at", "created_by", "created_at", "updated_at", "version"),
)
_FIXED = frozenset({"id", "project_id", "created_by", "created_at"})
_SELECT = f"select {', '.join(_COLUMNS)} from tasks.notifications"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.notifications ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_UPDATE = text(
    "update tasks.notifications set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = :{name}" for name in _COLUMNS if name not in _FIXED)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
# Whoever writes down that something happened holds the row, too, and is not to wait for whoever sends it.
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for no key update")
_KNOWN = text(f"{_SELECT} where id = :id")
_PLACE = text("select project_id from tasks.notifications where id = :id")
_REMOVE = text("delete from tasks.notifications where id = :id")
_COUNT = text("select count(*) from tasks.notifications where project_id = :project")
_OF_PROJECT = text("select id from tasks.notifications where project_id = :project order by id")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:last as uuid) is null or id < :last) "
    "and (cast(:words as text) is null or position(lower(:words) in lower(name)) > 0) "
    "order by id desc limit :limit"
)

_NOTICE_COLUMNS = (
    *("id", "sequence", "notification_id", "project_id", "type", "task_id", "run_id", "data", "status"),
    *("attempts", "tries", "next_at", "http_status", "duration_ms", "reason", "excerpt", "created_at"),
    "attempted_at",
)
_NOTICE_CHANGING = (
    *("status", "attempts", "tries", "next_at", "http_status", "duration_ms", "reason", "excerpt"),
    "attempted_at",
)
_NOTICES = f"select {', '.join(_NOTICE_COLUMNS)} from tasks.notices"  # noqa: S608 - as above
_FULL = (
    "(select count(*) >= :most from (select from tasks.notices where project_id = :project "
    "and status = 'pending' limit :most) as waiting)"
)
_TELL = text(
    "with room as materialized (select "  # noqa: S608 - words of ours
    f"{_FULL} as is_full) "
    "insert into tasks.notices (id, notification_id, project_id, type, task_id, run_id, version, data, "
    "status, attempts, tries, reason, next_at, created_at) "
    "select gen_random_uuid(), notifications.id, :project, :type, :task, :run, :version, "
    "cast(:data as jsonb), case when is_full then 'dead' else 'pending' end, 0, 0, "
    "case when is_full then cast(:reason as text) end, case when not is_full then tasks.clock() end, "
    "tasks.clock() from tasks.notifications, room "
    "where notifications.project_id = :project and not paused and :status = any(states) "
    "and not exists (select from tasks.projects where projects.project_id = :project "
    "and deleted_at is not null) "
    "for key share of notifications "
    "on conflict do nothing returning notification_id, status"
)
_ADD_NOTICE = text(
    "insert into tasks.notices (id, notification_id, project_id, type, data, status, attempts, tries, "  # noqa: S608 - as above
    "next_at, created_at) values (:id, :notification, :project, :type, cast(:data as jsonb), 'pending', 0, "
    f"0, tasks.clock(), tasks.clock()) returning {', '.join(_NOTICE_COLUMNS)}"
)
_IS_FULL = text(f"select {_FULL}")
_DUE = text(
    f"{_NOTICES} where notification_id = :id and status = 'pending' and next_at <= tasks.clock() "
    f"and (:all or type = '{PING}') order by next_at, sequence limit 1"
)
_NEXT_IN = text(
    "select extract(epoch from least("  # noqa: S608 - as above
    "case when not :paused then (select greatest(next_at, cast(:rest as timestamptz)) from tasks.notices "
    f"where notification_id = :id and status = 'pending' and type <> '{PING}' order by next_at limit 1) end, "
    "(select next_at from tasks.notices where notification_id = :id and status = 'pending' "
    f"and type = '{PING}' order by next_at limit 1)) - tasks.clock())"
)
_NOTE = text(
    "update tasks.notices set "  # noqa: S608 - as above
    + ", ".join(f"{name} = :{name}" for name in _NOTICE_CHANGING)
    + " where id = :id"
)
_ONE = text(f"{_NOTICES} where id = :id and notification_id = :notification")
_NOTICE_PAGE = text(
    f"{_NOTICES} where notification_id = :notification "
    "and (cast(:status as text) is null or status = :status) "
    "and (cast(:before as bigint) is null or sequence < :before) order by sequence desc limit :limit"
)
_LOCK_NOTICE = text(f"{_NOTICES} where id = :id and notification_id = :notification for update")
_FORGET = text(
    "delete from tasks.notices where id in (select id from tasks.notices "
    "where created_at < tasks.clock() - :days * interval '1 day' order by created_at limit 5000)"
)
_FORGET_ALL = text(
    "delete from tasks.notifications where project_id in (select project_id from tasks.projects "
    "where deleted_at < tasks.clock() - :days * interval '1 day') returning id"
)


def _row_of(found: Notification) -> dict[str, Any]:
    return vars(found) | {"states": [each.value for each in found.states]}


def _changing(found: Notification) -> dict[str, Any]:
    return {name: value for name, value in _row_of(found).items() if name == "id" or name not in _FIXED}


def _notification_of(row: Row[Any]) -> Notification:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Notification(**values | {"states": tuple(map(NotifiedStatus, row.states))})


def _one(row: Row[Any] | None) -> Notification | None:
    return _notification_of(row) if row is not None else None


async def add(transaction: Transaction, found: Notification) -> None:
    """Raises NotificationExists where another one has its name."""
    await write_unique(transaction, _INSERT, _row_of(found), errors.NotificationExists)


async def save(transaction: Transaction, found: Notification) -> None:
    """The same, of what somebody has changed."""
    await write_unique(transaction, _UPDATE, _changing(found), errors.NotificationExists)


async def keep(transaction: Transaction, found: Notification) -> None:
    """How its receiver does."""
    await transaction.connection.execute(_UPDATE, _changing(found))


async def get(connection: AsyncConnection, project: uuid.UUID, found: uuid.UUID) -> Notification | None:
    return _one((await connection.execute(_GET, {"id": found, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, found: uuid.UUID) -> Notification | None:
    values = {"id": found, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def known(transaction: Transaction, found: uuid.UUID) -> Notification | None:
    """In whatever project."""
    return _one((await transaction.connection.execute(_KNOWN, {"id": found})).first())


async def place(connection: AsyncConnection, found: uuid.UUID) -> uuid.UUID | None:
    project: uuid.UUID | None = (await connection.execute(_PLACE, {"id": found})).scalar()
    return project


async def remove(transaction: Transaction, found: uuid.UUID) -> None:
    await transaction.connection.execute(_REMOVE, {"id": found})


async def count(transaction: Transaction, project: uuid.UUID) -> int:
    return int((await transaction.connection.execute(_COUNT, {"project": project})).scalar_one())


async def of_project(connection: AsyncConnection, project: uuid.UUID) -> Sequence[uuid.UUID]:
    return (await connection.execute(_OF_PROJECT, {"project": project})).scalars().all()


async def page(
    connection: AsyncConnection, project: uuid.UUID, *, words: str | None, cursor: str | None, limit: int
) -> list[Notification]:
    """Newest first."""
    values = {"project": project, "words": words, "last": read_id_cursor(cursor), "limit": limit}
    return list(map(_notification_of, await connection.execute(_PAGE, values)))


# -- what is sent for them ---------------------------------------------------------------------------------


async def tell(
    transaction: Transaction,
    project: uuid.UUID,
    *,
    kind: str,
    status: NotifiedStatus,
    task: uuid.UUID,
    run: uuid.UUID,
    version: int,
    data: str,
    most: int,
    reason: str,
) -> tuple[list[uuid.UUID], int]:
    """A notice for each notification of the project that wants to know of this, once.

    Returns those, and how many nobody will send, since that many wait: for those `reason` is kept. Whoever
    does the same at the same moment is not counted among them.
    """
    values = {
        "project": project,
        "type": kind,
        "status": status.value,
        "task": task,
        "run": run,
        "version": version,
        "data": data,
        "most": most,
        "reason": reason,
    }
    rows = (await transaction.connection.execute(_TELL, values)).all()
    waiting = sorted(row.notification_id for row in rows if row.status == NoticeStatus.PENDING)
    return waiting, len(rows) - len(waiting)


async def is_full(transaction: Transaction, project: uuid.UUID, most: int) -> bool:
    """Whether that many of it wait."""
    values = {"project": project, "most": most}
    return bool((await transaction.connection.execute(_IS_FULL, values)).scalar_one())


async def add_notice(
    transaction: Transaction, found: Notification, notice: uuid.UUID, kind: str, data: dict[str, Any]
) -> Notice:
    """About no task."""
    values = {
        "id": notice,
        "notification": found.id,
        "project": found.project_id,
        "type": kind,
        "data": json.dumps(data),
    }
    return _notice_of((await transaction.connection.execute(_ADD_NOTICE, values)).one())


async def due(transaction: Transaction, found: uuid.UUID, *, pings_only: bool) -> Notice | None:
    """What has waited for its time longest."""
    row = (await transaction.connection.execute(_DUE, {"id": found, "all": not pings_only})).first()
    return _notice_of(row) if row is not None else None


async def next_in(transaction: Transaction, found: Notification) -> float | None:
    """Seconds until something is due; None where nothing is, or will be."""
    values = {"id": found.id, "paused": found.paused, "rest": found.rest_until}
    seconds = (await transaction.connection.execute(_NEXT_IN, values)).scalar()
    return max(0.0, float(seconds)) if seconds is not None else None


async def note(transaction: Transaction, notice: Notice) -> None:
    """What became of it."""
    values = {name: getattr(notice, name) for name in ("id", *_NOTICE_CHANGING)}
    await transaction.connection.execute(_NOTE, values)


async def notice_of(connection: AsyncConnection, found: uuid.UUID, notice: uuid.UUID) -> Notice | None:
    row = (await connection.execute(_ONE, {"id": notice, "notification": found})).first()
    return _notice_of(row) if row is not None else None


async def lock_notice(transaction: Transaction, found: uuid.UUID, notice: uuid.UUID) -> Notice | None:
    """Its notification comes first."""
    values = {"id": notice, "notification": found}
    row = (await transaction.connection.execute(_LOCK_NOTICE, values)).first()
    return _notice_of(row) if row is not None else None


async def notices(
    connection: AsyncConnection,
    found: uuid.UUID,
    *,
    status: NoticeStatus | None,
    cursor: str | None,
    limit: int,
) -> list[Notice]:
    """Newest first."""
    values = {
        "notification": found,
        "status": status.value if status is not None else None,
        "before": read_number_cursor(cursor),
        "limit": limit,
    }
    return list(map(_notice_of, await connection.execute(_NOTICE_PAGE, values)))


def _notice_of(row: Row[Any]) -> Notice:
    return Notice(**row._asdict() | {"status": NoticeStatus(row.status)})


async def forget(transaction: Transaction, days: int) -> Sequence[uuid.UUID]:
    """What happened so long ago, and those of projects that were deleted then; returns those."""
    await transaction.connection.execute(_FORGET, {"days": days})
    return (await transaction.connection.execute(_FORGET_ALL, {"days": days})).scalars().all()
