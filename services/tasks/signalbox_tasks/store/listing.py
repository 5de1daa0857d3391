"""Lists of tasks: filtered, in several orders, page by page."""

import uuid
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import ListTasks, TaskOrder
from signalbox_common.contracts.tasks import Task as TaskReply
from signalbox_common.paging import BadCursor, id_cursor, read_id_cursor, read_words_cursor, words_cursor
from signalbox_tasks.domain import RANKS, Task
from signalbox_tasks.store.tasks import SELECT, task_of

_FILTERS = {
    "status": "status = :status",
    "priority": "priority = :priority",
    "repository": "repository = :repository",
    "created_by": "created_by = :created_by",
    "agent": "agent = :agent",
    "schedule": "schedule = :schedule",
    "trigger": "trigger = :trigger",
    "label": "labels ->> :label is not null",
    "label_value": "labels ->> :label = :label_value",
    "words": "position(lower(:words) in lower(title || ' ' || description)) > 0",
}
_ORDERS = {
    TaskOrder.NEWEST: ("id desc", "id < cast(:last as uuid)"),
    TaskOrder.OLDEST: ("id", "id > cast(:last as uuid)"),
    TaskOrder.UPDATED: (
        "updated_at desc, id desc",
        "(updated_at, id) < (to_timestamp(cast(:at as double precision)), cast(:last as uuid))",
    ),
    TaskOrder.PRIORITY: (
        "priority desc, id desc",
        "(priority, id) < (cast(:at as integer), cast(:last as uuid))",
    ),
}

_BY_ID = frozenset({TaskOrder.NEWEST, TaskOrder.OLDEST})


async def page(connection: AsyncConnection, project: uuid.UUID, query: ListTasks) -> list[Task]:
    """One more than is asked for, where there is one."""
    label, equals, value = (query.label or "").partition("=")
    given: dict[str, Any] = {
        "status": query.status,
        "priority": RANKS[query.priority] if query.priority is not None else None,
        "repository": query.repository,
        "created_by": query.created_by,
        "agent": query.agent_id,
        "schedule": query.schedule_id,
        "trigger": query.trigger_id,
        "label": label or None,
        "label_value": value if equals else None,
        "words": query.q,
    }
    used = {name: each for name, each in given.items() if each is not None}
    where = ["project_id = :project", *(_FILTERS[name] for name in used)]
    order, after = _ORDERS[query.sort]
    if query.cursor is not None:
        where.append(after)
        used |= _place(query.cursor, query.sort)
    statement = f"{SELECT} where {' and '.join(where)} order by {order} limit :limit"
    values = used | {"project": project, "limit": query.limit + 1}
    return [task_of(row) for row in await connection.execute(text(statement), values)]


def place_of(last: TaskReply, sort: TaskOrder) -> str:
    """The cursor of what follows it."""
    if sort in _BY_ID:
        return id_cursor(last.id)
    at = repr(last.updated_at.timestamp()) if sort is TaskOrder.UPDATED else str(RANKS[last.priority])
    return words_cursor(at, str(last.id))


def _place(cursor: str, sort: TaskOrder) -> dict[str, Any]:
    if sort in _BY_ID:
        return {"last": read_id_cursor(cursor)}
    at, last = read_words_cursor(cursor, 2) or ("", "")
    try:
        return {"last": uuid.UUID(last), "at": float(at) if sort is TaskOrder.UPDATED else int(at)}
    except ValueError as error:
        raise BadCursor from error
