"""Tasks."""

import json
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import RunError, TaskAttachment, TaskSpec, TaskStatus
from signalbox_common.db import Transaction
from signalbox_tasks.domain import PRIORITIES, RANKS, Task

_COLUMNS = (
    *("id", "project_id", "title", "description", "priority", "labels", "spec", "repository", "agent"),
    *("environment", "status", "run", "attempts", "error", "branch", "pushed", "target", "pull_request_url"),
    *("created_by", "created_at", "updated_at", "completed_at", "attachments", "schedule", "trigger"),
)
_CHANGING = (
    *("status", "run", "attempts", "error", "branch", "pushed", "target", "pull_request_url"),
    *("updated_at", "completed_at"),
)
_WORDS = ("title", "description", "priority", "labels", "updated_at")
_JSON = frozenset({"labels", "spec", "error", "attachments"})


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


SELECT = f"select {', '.join(_COLUMNS)} from tasks.tasks"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.tasks ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update tasks.tasks set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_RENAME = text(
    "update tasks.tasks set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _WORDS)
    + " where id = :id"
)
_GET = text(f"{SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{SELECT} where id = :id and project_id = :project for update")
_PLACE = text("select project_id from tasks.tasks where id = :id")
_REMOVE = text("delete from tasks.tasks where id = :id")
_DEPEND = text("insert into tasks.dependencies (task_id, depends_on) values (:task, :on)")
_ATTACH = text("insert into tasks.task_attachments (task_id, attachment_id) values (:task, :attachment)")
_KNOWN = text("select id from tasks.tasks where project_id = :project and id = any(cast(:ids as uuid[]))")
_LOST = text(
    "select exists (select from tasks.dependencies join tasks.tasks on tasks.id = depends_on "
    "where task_id = :task and completed_at is not null and status <> 'succeeded')"
)
_DEPENDENTS = text("select task_id from tasks.dependencies where depends_on = :task order by task_id")


def _row_of(task: Task) -> dict[str, Any]:
    of_exec = task.spec.exec
    return {
        "id": task.id,
        "project_id": task.project_id,
        "title": task.title,
        "description": task.description,
        "priority": RANKS[task.priority],
        "labels": json.dumps(dict(task.labels)),
        "spec": task.spec.model_dump_json(by_alias=True),
        "repository": task.spec.repository,
        "agent": task.spec.agent,
        "environment": of_exec.environment if of_exec is not None else None,
        "status": task.status,
        "run": task.run,
        "attempts": task.attempts,
        "error": task.error.model_dump_json(by_alias=True) if task.error is not None else None,
        "branch": task.branch,
        "pushed": task.pushed,
        "target": task.target,
        "pull_request_url": task.pull_request_url,
        "created_by": task.created_by,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "completed_at": task.completed_at,
        "attachments": json.dumps([each.model_dump(mode="json", by_alias=True) for each in task.attachments]),
        "schedule": task.schedule,
        "trigger": task.trigger,
    }


def task_of(row: Row[Any]) -> Task:
    return Task(
        id=row.id,
        project_id=row.project_id,
        title=row.title,
        description=row.description,
        priority=PRIORITIES[row.priority],
        labels=row.labels,
        spec=TaskSpec.model_validate(row.spec),
        status=TaskStatus(row.status),
        run=row.run,
        attempts=row.attempts,
        error=RunError.model_validate(row.error) if row.error is not None else None,
        branch=row.branch,
        pushed=row.pushed,
        target=row.target,
        pull_request_url=row.pull_request_url,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        completed_at=row.completed_at,
        attachments=tuple(map(TaskAttachment.model_validate, row.attachments)),
        schedule=row.schedule,
        trigger=row.trigger,
    )


def _one(row: Row[Any] | None) -> Task | None:
    return task_of(row) if row is not None else None


async def add(transaction: Transaction, given: Sequence[Task]) -> None:
    await transaction.connection.execute(_INSERT, list(map(_row_of, given)))
    rows = [{"task": task.id, "on": each} for task in given for each in dict.fromkeys(task.spec.depends_on)]
    if rows:
        await transaction.connection.execute(_DEPEND, rows)
    rows = [{"task": task.id, "attachment": each.id} for task in given for each in task.attachments]
    if rows:
        await transaction.connection.execute(_ATTACH, rows)


async def save(transaction: Transaction, task: Task) -> None:
    """How far it is."""
    values = _row_of(task)
    await transaction.connection.execute(_UPDATE, {name: values[name] for name in ("id", *_CHANGING)})


async def rename(transaction: Transaction, task: Task) -> None:
    """What it is called, and how urgent it is."""
    values = _row_of(task)
    await transaction.connection.execute(_RENAME, {name: values[name] for name in ("id", *_WORDS)})


async def get(connection: AsyncConnection, project: uuid.UUID, task: uuid.UUID) -> Task | None:
    return _one((await connection.execute(_GET, {"id": task, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, task: uuid.UUID) -> Task | None:
    values = {"id": task, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def place(connection: AsyncConnection, task: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": task})).scalar()
    return found


async def remove(transaction: Transaction, task: uuid.UUID) -> None:
    """With all that its runs have left."""
    await transaction.connection.execute(_REMOVE, {"id": task})


async def known(transaction: Transaction, project: uuid.UUID, tasks: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of them that there are in the project."""
    values = {"project": project, "ids": list(tasks)}
    return set((await transaction.connection.execute(_KNOWN, values)).scalars())


async def waits_in_vain(transaction: Transaction, task: uuid.UUID) -> bool:
    """Whether one that it depends on has ended, and not well."""
    return bool((await transaction.connection.execute(_LOST, {"task": task})).scalar())


async def dependents(transaction: Transaction, task: uuid.UUID) -> Sequence[uuid.UUID]:
    """Tasks that wait for this one."""
    return (await transaction.connection.execute(_DEPENDENTS, {"task": task})).scalars().all()
