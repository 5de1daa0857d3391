"""Runs, and what waits for them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import ExecShell, RunError, RunResult, RunState, StepName, StopReason
from signalbox_common.db import Transaction, is_there_already
from signalbox_common.errors import AlreadyDone
from signalbox_tasks.domain import Run, RunWish

_COLUMNS = (
    *("id", "project_id", "task_id", "attempt", "state", "plan", "step", "admitted", "rank", "key", "agent"),
    *("stop_reason", "waiting_for", "error", "result", "facts", "wish", "authority", "log_end", "proof_at"),
    *("created_by", "created_by_name", "holder", "held"),
    *("queued_at", "started_at", "finished_at", "ends_at", "version"),
)
_CHANGING = (
    *("state", "plan", "step", "admitted", "stop_reason", "waiting_for", "error", "result", "facts"),
    *("log_end",),
    *("started_at", "finished_at", "ends_at", "version"),
)
_JSON = frozenset({"error", "result", "facts", "wish"})


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_NAMES = ", ".join(f"runs.{name}" for name in _COLUMNS)
_SELECT = f"select {_NAMES} from tasks.runs"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into tasks.runs ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))})"
)
_UPDATE = text(
    "update tasks.runs set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + " where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_PLACE = text("select project_id from tasks.runs where id = :id")
_OF_TASK = text(
    f"{_SELECT} where project_id = :project and task_id = :task "
    "and (cast(:before as bigint) is null or attempt < :before) order by attempt desc limit :limit"
)
# What holds a run back: a key is held by who has been let begin, or else by who came first.
_HELD_BY = {
    "dependencies": """exists (
        select from tasks.dependencies
        join tasks.tasks on tasks.id = dependencies.depends_on
        where dependencies.task_id = runs.task_id and tasks.status <> 'succeeded'
    )""",
    "key": """(key is not null and exists (
        select from tasks.runs as other
        where other.project_id = runs.project_id and other.key = runs.key and other.finished_at is null
            and other.id <> runs.id
            and (other.admitted or (other.queued_at, other.id) < (runs.queued_at, runs.id))
    ))""",
    "agent": """(agent is not null and exists (
        select from tasks.agents
        where agents.id = runs.agent and agents.concurrency <= (
            select count(*) from tasks.runs as other
            where other.agent = runs.agent and other.finished_at is null and other.admitted
        )
    ))""",
}
_ELIGIBLE = " and ".join(
    ("state = 'queued' and not admitted and not held", *(f"not {held}" for held in _HELD_BY.values()))
)
# Of those that come next, an agent takes on as many as it has room for.
_ADMIT = text(
    "with coming as ("  # noqa: S608 - words of ours
    f"select id, agent, rank, queued_at from tasks.runs where project_id = :project and {_ELIGIBLE} "
    "order by rank desc, queued_at, id limit :limit for update"
    "), numbered as ("
    "select coming.id, coming.rank, coming.queued_at, agents.concurrency, "
    "(select count(*) from tasks.runs as other where other.agent = coming.agent "
    "and other.finished_at is null and other.admitted) as busy, "
    "row_number() over (partition by coming.agent "
    "order by coming.rank desc, coming.queued_at, coming.id) as place, "
    "count(*) over () as found "
    "from coming left join tasks.agents on agents.id = coming.agent"
    ") update tasks.runs set admitted = true from numbered "
    "where runs.id = numbered.id and (concurrency is null or busy + place <= concurrency) "
    "returning runs.id, runs.rank, runs.queued_at, numbered.found"
)
_WHY_QUEUED = text(
    "select admitted, "  # noqa: S608 - words of ours
    + ", ".join(f"{held} as {name}" for name, held in _HELD_BY.items())
    + " from tasks.runs where id = :id and state = 'queued'"
)
_WITH_KEY = text(
    f"{_SELECT} where project_id = :project and key = :key and finished_at is null order by queued_at, id"
)
_RANK = text("update tasks.runs set rank = :rank where task_id = :task and finished_at is null")
_QUEUED_OF = text(f"{_SELECT} where task_id = :task and state = 'queued' and not admitted for update")
_OVERDUE = text(
    "select id, project_id from tasks.runs where finished_at is null and ends_at <= :lived "
    "and stop_reason is null order by ends_at limit :limit"
)
_BEGINNING = text(
    "select count(*) from tasks.runs where holder is not null and admitted and state = 'queued'"
)
_HELD = text(
    "select id, project_id from tasks.runs where held and state = 'queued' "
    "order by queued_at, id limit :limit"
)
_LET_GO = text("update tasks.runs set held = false where id = any(cast(:ids as uuid[]))")
_ACTIVE = text(
    "select id, project_id from tasks.runs where project_id = :project and finished_at is null "
    "order by id limit :limit"
)
_WITHOUT_SANDBOX = text(
    "select id from tasks.runs where project_id = :project and finished_at is null and state = 'running' "
    "and step = 'sandbox' order by started_at limit 10"
)
_WAIT = text(
    "insert into tasks.waiting_commands (command_id, run_id) values (:command, :run) on conflict do nothing"
)
_WAITING = text("delete from tasks.waiting_commands where run_id = :run returning command_id")
_NEWS = text(
    "insert into tasks.news (run_id, about, version, body) "
    "values (:run, :about, :version, cast(:body as jsonb)) on conflict (run_id, about) do update "
    "set version = excluded.version, body = excluded.body where news.version < excluded.version"
)
_HEARD = text("select version, body from tasks.news where run_id = :run and about = :about")
_FORGET = text(
    "delete from tasks.tasks where completed_at < tasks.clock() - :days * interval '1 day' "
    "and id in (select id from tasks.tasks where completed_at < tasks.clock() - :days * interval '1 day' "
    "limit 1000)"
)


def _row_of(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "project_id": run.project_id,
        "task_id": run.task_id,
        "attempt": run.attempt,
        "state": run.state,
        "plan": list(run.plan),
        "step": run.step,
        "admitted": run.admitted,
        "rank": run.rank,
        "key": run.key,
        "agent": run.agent,
        "stop_reason": run.stop_reason,
        "waiting_for": run.waiting_for,
        "error": run.error.model_dump_json(by_alias=True) if run.error is not None else None,
        "result": run.result.model_dump_json(by_alias=True) if run.result is not None else None,
        "facts": json.dumps(dict(run.facts)),
        "wish": json.dumps(_wish_row(run.wish)),
        "authority": run.authority,
        "log_end": run.log_end,
        "proof_at": run.proof_at,
        "created_by": run.created_by,
        "created_by_name": run.created_by_name,
        "holder": run.holder,
        "held": run.held,
        "queued_at": run.queued_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "ends_at": run.ends_at,
        "version": run.version,
    }


def _one(row: Row[Any] | None) -> Run | None:
    if row is None:
        return None
    return Run(
        id=row.id,
        project_id=row.project_id,
        task_id=row.task_id,
        attempt=row.attempt,
        plan=tuple(StepName(name) for name in row.plan),
        rank=row.rank,
        created_by=row.created_by,
        created_by_name=row.created_by_name,
        holder=row.holder,
        held=row.held,
        queued_at=row.queued_at,
        state=RunState(row.state),
        step=StepName(row.step) if row.step is not None else None,
        admitted=row.admitted,
        key=row.key,
        agent=row.agent,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason is not None else None,
        waiting_for=row.waiting_for,
        error=RunError.model_validate(row.error) if row.error is not None else None,
        result=RunResult.model_validate(row.result) if row.result is not None else None,
        facts=row.facts,
        wish=_wish(row.wish),
        authority=row.authority,
        log_end=row.log_end,
        proof_at=row.proof_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        ends_at=row.ends_at,
        version=row.version,
    )


def _wish_row(wish: RunWish) -> dict[str, Any]:
    shell = wish.exec.model_dump(mode="json", by_alias=True) if wish.exec is not None else None
    return {**vars(wish), "exec": shell}


def _wish(row: dict[str, Any]) -> RunWish:
    shell = ExecShell.model_validate(row["exec"]) if row["exec"] is not None else None
    return RunWish(**{**row, "exec": shell})


async def add(transaction: Transaction, given: Sequence[Run]) -> None:
    """Their ids follow from what asked for them, which is known by them when its inbox has forgotten it."""
    try:
        await transaction.connection.execute(_INSERT, list(map(_row_of, given)))
    except IntegrityError as error:
        if is_there_already(error):
            raise AlreadyDone from error
        raise


async def save(transaction: Transaction, run: Run) -> None:
    values = _row_of(run)
    await transaction.connection.execute(_UPDATE, {name: values[name] for name in ("id", *_CHANGING)})


async def get(connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID) -> Run | None:
    return _one((await connection.execute(_GET, {"id": run, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, run: uuid.UUID) -> Run | None:
    values = {"id": run, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def place(connection: AsyncConnection, run: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": run})).scalar()
    return found


async def of_task(
    connection: AsyncConnection, project: uuid.UUID, task: uuid.UUID, *, limit: int, before: int | None = None
) -> list[Run]:
    """Newest first."""
    values = {"project": project, "task": task, "limit": limit, "before": before}
    return _all(await connection.execute(_OF_TASK, values))


async def admitted(transaction: Transaction, project: uuid.UUID, limit: int) -> tuple[list[uuid.UUID], bool]:
    """Those that may begin now, in their order; and whether others may, behind an agent that is full."""
    rows = (await transaction.connection.execute(_ADMIT, {"project": project, "limit": limit})).all()
    found = [row.id for row in sorted(rows, key=lambda row: (-row.rank, row.queued_at, row.id))]
    return found, bool(rows) and rows[0].found == limit > len(rows)


async def why_queued(connection: AsyncConnection, run: uuid.UUID) -> str | None:
    """What a run that has not begun waits for; None where it begins, or has."""
    row = (await connection.execute(_WHY_QUEUED, {"id": run})).first()
    if row is None or row.admitted:
        return None
    return next((name for name in _HELD_BY if getattr(row, name)), "turn")


async def with_key(transaction: Transaction, project: uuid.UUID, key: str) -> list[Run]:
    """Those that have not ended, the oldest first."""
    return _all(await transaction.connection.execute(_WITH_KEY, {"project": project, "key": key}))


async def queued_of(transaction: Transaction, task: uuid.UUID) -> Run | None:
    return _one((await transaction.connection.execute(_QUEUED_OF, {"task": task})).first())


async def set_rank(transaction: Transaction, task: uuid.UUID, rank: int) -> None:
    """Of those that have not ended."""
    await transaction.connection.execute(_RANK, {"task": task, "rank": rank})


async def overdue(
    connection: AsyncConnection, lived: float, limit: int
) -> Sequence[tuple[uuid.UUID, uuid.UUID]]:
    """Runs whose time is over, with their projects."""
    rows = await connection.execute(_OVERDUE, {"lived": lived, "limit": limit})
    return [(row.id, row.project_id) for row in rows]


async def beginning(connection: AsyncConnection) -> int:
    """Those that nobody has asked for themselves, and that are about to begin."""
    return int((await connection.execute(_BEGINNING)).scalar_one())


async def held(connection: AsyncConnection, limit: int) -> dict[uuid.UUID, list[uuid.UUID]]:
    """Those that wait for others which were started at the same time, the first ones, by project."""
    found: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in await connection.execute(_HELD, {"limit": limit}):
        found.setdefault(row.project_id, []).append(row.id)
    return found


async def let_go(transaction: Transaction, given: Sequence[uuid.UUID]) -> None:
    """They wait no longer for those."""
    await transaction.connection.execute(_LET_GO, {"ids": list(given)})


async def active(connection: AsyncConnection, project: uuid.UUID, limit: int) -> Sequence[uuid.UUID]:
    """Those that have not ended."""
    rows = await connection.execute(_ACTIVE, {"project": project, "limit": limit})
    return [row.id for row in rows]


async def without_sandbox(connection: AsyncConnection, project: uuid.UUID) -> Sequence[uuid.UUID]:
    """Those that have begun and wait for one, the first ones."""
    return (await connection.execute(_WITHOUT_SANDBOX, {"project": project})).scalars().all()


async def forget(transaction: Transaction, days: int) -> None:
    """Tasks that ended so long ago, with all that their runs have left."""
    await transaction.connection.execute(_FORGET, {"days": days})


# -- what waits for a run, and what others tell of it ------------------------------------------------------


async def wait_for(transaction: Transaction, run: uuid.UUID, command: uuid.UUID) -> None:
    """A command that is answered when it has ended."""
    await transaction.connection.execute(_WAIT, {"command": command, "run": run})


async def taken_commands(transaction: Transaction, run: uuid.UUID) -> Sequence[uuid.UUID]:
    """Those that waited; they are not there any more."""
    return (await transaction.connection.execute(_WAITING, {"run": run})).scalars().all()


async def hear(transaction: Transaction, run: uuid.UUID, about: str, version: int, body: str) -> None:
    """What is not newer than what is known is old news."""
    values = {"run": run, "about": about, "version": version, "body": body}
    await transaction.connection.execute(_NEWS, values)


async def heard(connection: AsyncConnection, run: uuid.UUID, about: str) -> dict[str, Any] | None:
    row = (await connection.execute(_HEARD, {"run": run, "about": about})).first()
    return dict(row.body) if row is not None else None


def _all(rows: Any) -> list[Run]:
    return [found for row in rows if (found := _one(row)) is not None]
