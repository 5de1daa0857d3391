"""Triggers, and what was sent to them."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import telemetry
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import TriggeredTask, TriggerRules, Verification
from signalbox_common.db import Transaction, write_unique
from signalbox_common.paging import read_id_cursor, read_number_cursor
from signalbox_tasks import errors
from signalbox_tasks.triggers import Trigger

_COLUMNS = (
    *("id", "project_id", "name", "token", "event", "verify", "secret", "task", "environment", "rules"),
    *("paused", "reason", "allowance", "refilled_at", "last_task", "authority", "proof_at", "delegated"),
    *("acts_for", "acts_for_name", "created_by", "created_at", "updated_at", "version"),
)
_FIXED = frozenset({"id", "project_id", "created_by", "created_at"})
_CHANGING = tuple(name for name in _COLUMNS if name not in _FIXED)
_JSON = frozenset({"task", "rules"})


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from tasks.triggers"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.triggers ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update tasks.triggers set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_LOCK_UNDER = text(f"{_SELECT} where authority = :authority for update")
_CALLED = text(f"{_SELECT} where token = :token")
_LISTENING = text(
    f"{_SELECT} where project_id = any(:projects) and event is not null and not paused order by id"
)
_PLACE = text("select project_id from tasks.triggers where id = :id")
_SIGNED_WITH = text("select exists (select from tasks.triggers where id = :id and secret = :secret)")
_REMOVE = text("delete from tasks.triggers where id = :id")
_COUNT = text("select count(*) from tasks.triggers where project_id = :project")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:last as uuid) is null or id < :last) "
    "and (cast(:words as text) is null or position(lower(:words) in lower(name)) > 0) "
    "order by id desc limit :limit"
)
_SPEND = text("update tasks.triggers set allowance = :allowance, refilled_at = :at where id = :id")
_FOLLOW = text("update tasks.triggers set last_task = :task where id = :id")
_ATTACH = text(
    "insert into tasks.trigger_attachments (trigger_id, attachment_id) values (:trigger, :attachment)"
)
_DETACH = text("delete from tasks.trigger_attachments where trigger_id = :trigger")
_CALL_COLUMNS = "id, delivery, digest, size, outcome, reason, detail, task_id, run_id, called_at"
_INSERT_CALL = (
    "insert into tasks.calls (trigger_id, once, delivery, digest, size, outcome, reason, detail, task_id, "
    "run_id, called_at) values (:trigger, :once, :delivery, :digest, :size, :outcome, :reason, :detail, "
    "cast(:task_id as uuid), cast(:run_id as uuid), :called_at)"
)
_NOTE = text(f"{_INSERT_CALL} returning {_CALL_COLUMNS}")
_NOTE_ONCE = text(f"{_INSERT_CALL} on conflict do nothing")
_KNOWN = text(f"select {_CALL_COLUMNS} from tasks.calls where trigger_id = :trigger and once = :once")  # noqa: S608 - as above
_CALLS = text(
    f"select {_CALL_COLUMNS} from tasks.calls where trigger_id = :trigger "  # noqa: S608 - as above
    "and (cast(:before as bigint) is null or id < :before) order by id desc limit :limit"
)
_FORGET = text(
    "delete from tasks.calls where id in (select id from tasks.calls "
    "where called_at < tasks.clock() - :days * interval '1 day' order by called_at limit 5000)"
)
_FORGET_ALL = text(
    "delete from tasks.triggers where project_id in (select project_id from tasks.projects "
    "where deleted_at < tasks.clock() - :days * interval '1 day') returning authority"
)


@dataclass(frozen=True)
class Called:
    """What was sent, and what became of it."""

    trigger: uuid.UUID
    digest: bytes
    size: int
    outcome: str
    called_at: datetime
    once: str | None = None
    """What makes it the same as another one."""
    delivery: str | None = None
    reason: str | None = None
    detail: str | None = None
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None


def _row_of(trigger: Trigger) -> dict[str, Any]:
    names = {*_COLUMNS} - {"task", "rules", "environment"}
    of_exec = trigger.task.spec.exec
    return {name: getattr(trigger, name) for name in names} | {
        "task": trigger.task.model_dump_json(by_alias=True),
        "rules": trigger.rules.model_dump_json(by_alias=True),
        "environment": of_exec.environment if of_exec is not None else None,
    }


def _one(row: Row[Any] | None) -> Trigger | None:
    return _trigger_of(row) if row is not None else None


def _trigger_of(row: Row[Any]) -> Trigger:
    values = {name: getattr(row, name) for name in _COLUMNS if name != "environment"}
    return Trigger(
        **values
        | {
            "task": TriggeredTask.model_validate(row.task),
            "rules": TriggerRules.model_validate(row.rules),
            "verify": Verification(row.verify),
            "token": bytes(row.token) if row.token is not None else None,
        }
    )


async def add(transaction: Transaction, trigger: Trigger) -> None:
    """Raises TriggerExists where another one has its name."""
    await write_unique(transaction, _INSERT, _row_of(trigger), errors.TriggerExists)
    await _attach(transaction, trigger)


async def save(transaction: Transaction, trigger: Trigger) -> None:
    """The same, of what somebody has changed."""
    values = _row_of(trigger)
    values = {name: values[name] for name in ("id", *_CHANGING)}
    await write_unique(transaction, _UPDATE, values, errors.TriggerExists)
    await transaction.connection.execute(_DETACH, {"trigger": trigger.id})
    await _attach(transaction, trigger)


async def _attach(transaction: Transaction, trigger: Trigger) -> None:
    wanted = dict.fromkeys(trigger.task.spec.attachments)
    if wanted:
        rows = [{"trigger": trigger.id, "attachment": each} for each in wanted]
        await transaction.connection.execute(_ATTACH, rows)


async def get(connection: AsyncConnection, project: uuid.UUID, trigger: uuid.UUID) -> Trigger | None:
    return _one((await connection.execute(_GET, {"id": trigger, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, trigger: uuid.UUID) -> Trigger | None:
    values = {"id": trigger, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def lock_under(transaction: Transaction, authority: uuid.UUID) -> Trigger | None:
    """The one that has that authority."""
    return _one((await transaction.connection.execute(_LOCK_UNDER, {"authority": authority})).first())


async def called(connection: AsyncConnection, token: bytes) -> Trigger | None:
    """The one with that address."""
    return _one((await connection.execute(_CALLED, {"token": token})).first())


async def listening(
    connection: AsyncConnection, projects: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[Trigger]]:
    """To events from outside, by project."""
    found: dict[uuid.UUID, list[Trigger]] = {}
    for row in await connection.execute(_LISTENING, {"projects": list(projects)}):
        found.setdefault(row.project_id, []).append(_trigger_of(row))
    return found


async def is_signed_with(connection: AsyncConnection, trigger: uuid.UUID, secret: uuid.UUID) -> bool:
    return bool((await connection.execute(_SIGNED_WITH, {"id": trigger, "secret": secret})).scalar())


async def place(connection: AsyncConnection, trigger: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": trigger})).scalar()
    return found


async def remove(transaction: Transaction, trigger: uuid.UUID) -> None:
    await transaction.connection.execute(_REMOVE, {"id": trigger})


async def of_project(transaction: Transaction, project: uuid.UUID) -> int:
    return int((await transaction.connection.execute(_COUNT, {"project": project})).scalar_one())


async def page(
    connection: AsyncConnection, project: uuid.UUID, *, words: str | None, cursor: str | None, limit: int
) -> list[Trigger]:
    """Newest first."""
    values = {"project": project, "words": words, "last": read_id_cursor(cursor), "limit": limit}
    return list(map(_trigger_of, await connection.execute(_PAGE, values)))


# -- what was sent to them ---------------------------------------------------------------------------------


async def spend(transaction: Transaction, trigger: Trigger) -> None:
    """A call of those that it takes."""
    values = {"id": trigger.id, "allowance": trigger.allowance, "at": trigger.refilled_at}
    await transaction.connection.execute(_SPEND, values)


async def follow(transaction: Transaction, trigger: uuid.UUID, task: uuid.UUID) -> None:
    """What it has started last."""
    await transaction.connection.execute(_FOLLOW, {"id": trigger, "task": task})


async def note(transaction: Transaction, call: Called) -> contract.TriggerCall:
    """Once for each delivery: a second one of the same cannot be written."""
    transaction.after_commit.append(partial(_count, call))
    return _call_of((await transaction.connection.execute(_NOTE, vars(call))).one())


async def _count(call: Called) -> None:
    telemetry.TRIGGER_CALLS.labels(call.outcome).inc()


async def note_once(transaction: Transaction, call: Called) -> None:
    """Or nothing, where it is there."""
    if (await transaction.connection.execute(_NOTE_ONCE, vars(call))).rowcount:
        transaction.after_commit.append(partial(_count, call))


async def known(connection: AsyncConnection, trigger: uuid.UUID, once: str) -> contract.TriggerCall | None:
    """What became of the same before."""
    row = (await connection.execute(_KNOWN, {"trigger": trigger, "once": once})).first()
    return _call_of(row) if row is not None else None


async def calls(
    connection: AsyncConnection, trigger: uuid.UUID, *, cursor: str | None, limit: int
) -> list[contract.TriggerCall]:
    """Newest first."""
    values = {"trigger": trigger, "before": read_number_cursor(cursor), "limit": limit}
    return list(map(_call_of, await connection.execute(_CALLS, values)))


def _call_of(row: Row[Any]) -> contract.TriggerCall:
    return contract.TriggerCall.model_validate(row._asdict() | {"digest": bytes(row.digest).hex()})


async def forget(transaction: Transaction, days: int) -> Sequence[uuid.UUID]:
    """What was sent so long ago, and those of projects that were deleted then; returns under what those
    acted."""
    await transaction.connection.execute(_FORGET, {"days": days})
    rows = await transaction.connection.execute(_FORGET_ALL, {"days": days})
    return [row.authority for row in rows]
