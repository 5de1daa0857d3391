"""Agents, and what was counted of their runs when those ended."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import RunState
from signalbox_common.db import Transaction, write_unique
from signalbox_common.paging import read_id_cursor, read_number_cursor
from signalbox_tasks import errors
from signalbox_tasks.agents import NOT_RUNNABLE, Agent, Workload, bucket_of
from signalbox_tasks.domain import FINAL, Run

_COLUMNS = tuple(field.name for field in fields(Agent))
_GIVEN = (
    *("name", "role", "avatar_url", "bot", "team", "concurrency"),
    *("missing", "seen", "trouble", "updated_at", "version"),
)
_SELECT = f"select {', '.join(_COLUMNS)} from tasks.agents"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.agents ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_UPDATE = text(
    f"update tasks.agents set {', '.join(f'{name} = :{name}' for name in _GIVEN)} where id = :id"  # noqa: S608 - as above
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_PLACE = text("select project_id from tasks.agents where id = :id")
_REMOVE = text("delete from tasks.agents where id = :id")
_COUNT = text("select count(*) from tasks.agents where project_id = :project")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:last as uuid) is null or id < :last) "
    "and (cast(:words as text) is null or position(lower(:words) in lower(name || ' ' || role)) > 0) "
    "order by id desc limit :limit"
)
WORKLOADS = text(
    "select agent, count(*) filter (where admitted and state <> 'waiting') as running, "
    "count(*) filter (where state = 'waiting') as waiting, count(*) filter (where not admitted) as queued, "
    "(array_agg(task_id order by admitted desc, started_at desc nulls last, id desc))[1] as task_id, "
    "(array_agg(facts ->> 'sandbox' order by admitted desc, started_at desc nulls last, id desc))[1] "
    "as sandbox "
    "from tasks.runs where agent = any(cast(:agents as uuid[])) and finished_at is null group by agent"
)
_MISSING = text(
    "update tasks.agents set missing = :missing, seen = :version where project_id = :project "
    "and coalesce(bot, team) = :name and (bot is not null) = :is_bot and seen < :version"
)
# A run that was cancelled says nothing of who worked on it.
_COUNT_RUN = text(
    "update tasks.agents set runs = runs + 1, succeeded = succeeded + :succeeded, lost = lost + :lost, "
    "failed_in_row = case when :succeeded = 1 then 0 else failed_in_row + :lost end, "
    "trouble = case when :tells then cast(:trouble as text) else trouble end, "
    "missing = missing and not (:tells and cast(:trouble as text) is null) "
    "where id = :agent returning id"
)
_COUNT_DAY = text(
    "insert into tasks.agent_days "
    "(agent, day, runs, succeeded, failed, cancelled, timed_out, tokens, cost) "
    "values (:agent, :day, 1, :succeeded, :failed, :cancelled, :timed_out, :tokens, :cost) "
    "on conflict (agent, day) do update "
    "set runs = agent_days.runs + 1, succeeded = agent_days.succeeded + excluded.succeeded, "
    "failed = agent_days.failed + excluded.failed, cancelled = agent_days.cancelled + excluded.cancelled, "
    "timed_out = agent_days.timed_out + excluded.timed_out, "
    "tokens = agent_days.tokens + excluded.tokens, cost = agent_days.cost + excluded.cost"
)
_COUNT_DURATION = text(
    "insert into tasks.agent_durations (agent, day, bucket, runs) values (:agent, :day, :bucket, 1) "
    "on conflict (agent, day, bucket) do update set runs = agent_durations.runs + 1"
)
_NOTE = text(
    "insert into tasks.agent_activity (agent, type, message, data, run_id, created_by, created_at) "
    "select id, :type, :message, cast(:data as jsonb), cast(:run as uuid), cast(:by as uuid), "
    "cast(:at as timestamptz) from tasks.agents where id = :agent returning id"
)
_ACTIVITY = text(
    "select id, type, message, data, run_id, created_by, created_at from tasks.agent_activity "
    "where agent = :agent and (cast(:before as bigint) is null or id < :before) order by id desc limit :limit"
)
_EXECUTIONS = text(
    "select runs.id, runs.task_id, tasks.title, runs.attempt, runs.state, runs.error, runs.facts, "
    "runs.queued_at, runs.started_at, runs.finished_at "
    "from tasks.runs join tasks.tasks on tasks.id = task_id "
    "where runs.agent = :agent and (cast(:last as timestamptz) is null "
    "or (runs.queued_at, runs.id) < (:last, cast(:last_id as uuid))) "
    "order by runs.queued_at desc, runs.id desc limit :limit"
)
_DAYS = text(
    "select day, runs, succeeded, failed, cancelled, timed_out, tokens, cost from tasks.agent_days "
    "where agent = :agent and day between :since and :until order by day"
)
_DURATIONS = text(
    "select bucket, sum(runs) as runs from tasks.agent_durations "
    "where agent = :agent and day between :since and :until group by bucket order by bucket"
)
_FORGET = text(
    "delete from tasks.agent_activity where id in (select id from tasks.agent_activity "
    "where created_at < tasks.clock() - :days * interval '1 day' order by created_at limit 5000)"
)
_FORGET_ALL = text(
    "delete from tasks.agents where project_id in (select project_id from tasks.projects "
    "where deleted_at < tasks.clock() - :days * interval '1 day')"
)


def _row_of(agent: Agent) -> dict[str, Any]:
    return {name: getattr(agent, name) for name in _COLUMNS}


def _one(row: Row[Any] | None) -> Agent | None:
    if row is None:
        return None
    values: list[Any] = list(row)
    return Agent(*values)


async def add(transaction: Transaction, agent: Agent) -> None:
    """Raises AgentExists where another one has its name."""
    await write_unique(transaction, _INSERT, _row_of(agent), errors.AgentExists)


async def save(transaction: Transaction, agent: Agent) -> None:
    """The same, of what somebody has changed."""
    values = _row_of(agent)
    await write_unique(
        transaction, _UPDATE, {name: values[name] for name in ("id", *_GIVEN)}, errors.AgentExists
    )


async def get(connection: AsyncConnection, project: uuid.UUID, agent: uuid.UUID) -> Agent | None:
    return _one((await connection.execute(_GET, {"id": agent, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, agent: uuid.UUID) -> Agent | None:
    values = {"id": agent, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def place(connection: AsyncConnection, agent: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": agent})).scalar()
    return found


async def remove(transaction: Transaction, agent: uuid.UUID) -> None:
    await transaction.connection.execute(_REMOVE, {"id": agent})


async def of_project(transaction: Transaction, project: uuid.UUID) -> int:
    return int((await transaction.connection.execute(_COUNT, {"project": project})).scalar_one())


async def page(
    connection: AsyncConnection, project: uuid.UUID, *, words: str | None, cursor: str | None, limit: int
) -> list[Agent]:
    """Newest first."""
    values = {"project": project, "words": words, "last": read_id_cursor(cursor), "limit": limit}
    return [each for row in await connection.execute(_PAGE, values) if (each := _one(row)) is not None]


async def workloads(connection: AsyncConnection, agents: Sequence[uuid.UUID]) -> dict[uuid.UUID, Workload]:
    """Of those that have any."""
    rows = await connection.execute(WORKLOADS, {"agents": list(agents)})
    return {
        row.agent: Workload(
            running=row.running,
            waiting=row.waiting,
            queued=row.queued,
            task=row.task_id,
            sandbox=uuid.UUID(row.sandbox) if row.sandbox else None,
        )
        for row in rows
    }


async def set_missing(
    transaction: Transaction, project: uuid.UUID, name: str, *, is_bot: bool, missing: bool, version: int
) -> None:
    """All that work as that bot or team; what is not newer than what is known is old news."""
    values = {"project": project, "name": name, "is_bot": is_bot, "missing": missing, "version": version}
    await transaction.connection.execute(_MISSING, values)


# -- what is counted ---------------------------------------------------------------------------------------


async def count(transaction: Transaction, run: Run, now: datetime) -> None:
    """A run that has just ended, once; nothing where the agent is gone."""
    lost = run.state in (RunState.FAILED, RunState.TIMED_OUT)
    trouble = run.error.detail if run.error is not None and run.error.code in NOT_RUNNABLE else None
    values = {
        "agent": run.agent,
        "succeeded": int(run.state is RunState.SUCCEEDED),
        "lost": int(lost),
        "trouble": trouble,
        "tells": trouble is not None or "members" in run.facts,
    }
    if (await transaction.connection.execute(_COUNT_RUN, values)).first() is None:
        return
    day = now.date()
    counts = {state.value: int(run.state is state) for state in FINAL}
    used = {"tokens": run.used.tokens, "cost": float(run.used.cost)}
    await transaction.connection.execute(_COUNT_DAY, {"agent": run.agent, "day": day, **counts, **used})
    if run.started_at is not None:
        bucket = bucket_of((now - run.started_at).total_seconds())
        found = {"agent": run.agent, "day": day, "bucket": bucket}
        await transaction.connection.execute(_COUNT_DURATION, found)
    said = f"{run.state}: {run.error.detail}" if run.error is not None else str(run.state)
    await note(transaction, run.agent, type_="run.ended", message=said, at=now, run=run.id)


async def days(
    connection: AsyncConnection, agent: uuid.UUID, since: date, until: date
) -> list[dict[str, Any]]:
    rows = await connection.execute(_DAYS, {"agent": agent, "since": since, "until": until})
    return [dict(row) for row in rows.mappings()]


async def durations(
    connection: AsyncConnection, agent: uuid.UUID, since: date, until: date
) -> dict[int, int]:
    """Runs by the buckets of their durations."""
    rows = await connection.execute(_DURATIONS, {"agent": agent, "since": since, "until": until})
    return {row.bucket: int(row.runs) for row in rows}


async def executions(
    connection: AsyncConnection, agent: uuid.UUID, *, last: tuple[datetime, uuid.UUID] | None, limit: int
) -> Sequence[Row[Any]]:
    """Its runs, newest first."""
    at, identifier = last or (None, None)
    values = {"agent": agent, "last": at, "last_id": identifier, "limit": limit}
    return (await connection.execute(_EXECUTIONS, values)).all()


# -- what it did -------------------------------------------------------------------------------------------


async def note(
    transaction: Transaction,
    agent: uuid.UUID | None,
    *,
    type_: str,
    message: str,
    at: datetime,
    data: str = "{}",
    run: uuid.UUID | None = None,
    by: uuid.UUID | None = None,
) -> int | None:
    """Its number; None where there is no such agent any more."""
    values = {"agent": agent, "type": type_, "message": message, "data": data, "run": run, "by": by, "at": at}
    number: int | None = (await transaction.connection.execute(_NOTE, values)).scalar()
    return number


async def activity(
    connection: AsyncConnection, agent: uuid.UUID, *, cursor: str | None, limit: int
) -> list[contract.Activity]:
    """Newest first."""
    values = {"agent": agent, "before": read_number_cursor(cursor), "limit": limit}
    rows = await connection.execute(_ACTIVITY, values)
    return [contract.Activity.model_validate(dict(row)) for row in rows.mappings()]


async def forget(transaction: Transaction, days: int) -> None:
    """What was noted so long ago, and agents of projects that were deleted then."""
    await transaction.connection.execute(_FORGET, {"days": days})
    await transaction.connection.execute(_FORGET_ALL, {"days": days})
