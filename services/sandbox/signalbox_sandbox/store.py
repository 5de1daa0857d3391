"""All statements on the schema `sandbox` that are its own."""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.sandbox import AtEnd, SandboxStatus
from signalbox_common.db import Transaction
from signalbox_sandbox.domain import Sandbox, Template, Wish

_COLUMNS = tuple(field.name for field in fields(Sandbox))
_JSON = frozenset({"limits", "labels", "not_enforced", "workspace", "network", "doors", "keeps"})
_FIXED = frozenset({"id", "project_id", "created_by", "created_at", "layer", "builds"})


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from sandbox.sandboxes"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into sandbox.sandboxes ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))}) on conflict do nothing returning id"
)
_UPDATE = text(
    "update sandbox.sandboxes set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _COLUMNS if name not in _FIXED)
    + " where id = :id"
)
_LOCK = text(f"{_SELECT} where id = :id for update")
_LOCK_FOR_WORK = text(
    f"select {', '.join(_COLUMNS)}, sandbox.clock() as moment, "  # noqa: S608 - names of ours
    "exists (select from sandbox.waiting_commands where sandbox_id = sandboxes.id) as is_waited_for "
    "from sandbox.sandboxes where id = :id for update"
)
_FIND = text(f"{_SELECT} where id = :id")
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_OWNED = text(f"{_SELECT} where project_id = :project and owner_run = :run and owner_name = :name")
_PAGE = text(
    f"{_SELECT} where project_id = :project and (cast(:before as uuid) is null or id < :before) "
    "and (cast(:status as text) is null or status = :status) order by id desc limit :limit"
)
_THESE = text(f"{_SELECT} where id = any(cast(:ids as uuid[]))")
_ON_NODE = text(f"{_SELECT} where node = :node and status in ('creating', 'running', 'paused')")
_NODES_IN_USE = text(
    "select distinct node from sandbox.sandboxes "
    "where node is not null and status in ('creating', 'running', 'paused')"
)
_LIVING = text(f"{_SELECT} where project_id = :project and status in ('creating', 'running', 'paused')")
_PAUSED_LONG = text(
    f"{_SELECT} where status = 'paused' and since < sandbox.clock() - :days * interval '1 day'"
)
_FORGET = text(
    "delete from sandbox.sandboxes where status in ('destroyed', 'failed', 'lost') "
    "and since < sandbox.clock() - :days * interval '1 day'"
)

_WAIT = text(
    "insert into sandbox.waiting_commands (command_id, sandbox_id, wish, generation) "
    "values (:command, :sandbox, :wish, :generation)"
)
_WAITING = text(
    "select command_id, wish from sandbox.waiting_commands "
    "where sandbox_id = :sandbox and generation <= :generation order by generation for update"
)
_ANSWERED = text("delete from sandbox.waiting_commands where command_id = any(cast(:commands as uuid[]))")

_ENROLL = text(
    "insert into sandbox.nodes (name, capacity) values (:node, :capacity) "
    "on conflict (name) do update set capacity = excluded.capacity"
)
_ROOM = text("select capacity from sandbox.nodes where name = :node for update")
_USED = text(
    "select count(*) from sandbox.sandboxes "
    "where node = :node and status in ('creating', 'running', 'paused')"
)
_BEAT = text(
    "insert into sandbox.instances (name, node, url, beat) values (:name, :node, :url, 1) "
    "on conflict (name) do update set beat = sandbox.instances.beat + 1, url = excluded.url"
)
_INSTANCES = text("select name, node, url, beat from sandbox.instances order by name")
_LEAVE = text("delete from sandbox.instances where name = any(cast(:names as text[]))")

_DELETED = text("insert into sandbox.deleted_projects (project_id) values (:project) on conflict do nothing")
_RESTORED = text("delete from sandbox.deleted_projects where project_id = :project")
_MOMENT = text(
    "select sandbox.clock() as moment, "
    "exists (select from sandbox.deleted_projects where project_id = :project) as is_deleted"
)


_NOTE_RUN = text(
    "insert into sandbox.runs (project_id, run, noted_at) values (:project, :run, sandbox.clock()) "
    "on conflict do nothing"
)
_LOCK_RUN = text(
    "select stopping, ended, keep_sandbox from sandbox.runs "
    "where project_id = :project and run = :run for update"
)
_SAVE_RUN = text(
    "update sandbox.runs set stopping = :stopping, ended = :ended, keep_sandbox = :keep_sandbox "
    "where project_id = :project and run = :run"
)
_HAS_ENDED = text(
    "select runs.ended from sandbox.sandboxes join sandbox.runs "
    "on runs.project_id = sandboxes.project_id and runs.run = owner_run where sandboxes.id = :sandbox"
)
_OF_RUN = text(
    f"{_SELECT} where project_id = :project and owner_run = :run "
    "and status in ('creating', 'running', 'paused')"
)
_FORGET_RUNS = text("delete from sandbox.runs where noted_at < sandbox.clock() - :days * interval '1 day'")
_TEMPLATE_COLUMNS = tuple(field.name for field in fields(Template))
_TEMPLATE = f"select {', '.join(_TEMPLATE_COLUMNS)} from sandbox.templates"  # noqa: S608 - names of ours
_TEMPLATES = text(f"{_TEMPLATE} where project_id = :project and removed_at is null order by name")
_TEMPLATE_CALLED = text(f"{_TEMPLATE} where project_id = :project and name = :name and removed_at is null")
_TEMPLATE_OF_LAYER = text(f"{_TEMPLATE} where id = :layer")
_REMOVE_TEMPLATE = text(
    "update sandbox.templates set removed_at = sandbox.clock() "
    "where project_id = :project and name = :name and removed_at is null returning id"
)
_KEEP_TEMPLATE = text(
    "insert into sandbox.templates (id, project_id, name, digest, env, size_bytes, created_by, created_at) "
    "values (:id, :project_id, :name, :digest, cast(:env as jsonb), :size_bytes, :created_by, :created_at) "
    "on conflict (id) do nothing"
)
_LAYERS_IN_USE = text(
    "select id from sandbox.templates where removed_at is null union select layer from sandbox.sandboxes "
    "where layer is not null and status in ('creating', 'running', 'paused')"
)
_FORGET_LAYER = text("delete from sandbox.templates where id = :layer and removed_at is not null")


@dataclass(frozen=True)
class Instance:
    """A process of this service, and the node that it is on."""

    name: str
    node: str
    url: str
    beat: int


@dataclass(frozen=True)
class Locked:
    """A row that stays as it is to the end of the transaction."""

    sandbox: Sandbox
    moment: datetime
    """By the clock of the database."""
    is_waited_for: bool


def _row_of(sandbox: Sandbox) -> dict[str, Any]:
    values = {name: getattr(sandbox, name) for name in _COLUMNS}
    return values | {name: json.dumps(values[name]) for name in _JSON if values[name] is not None}


def _sandbox_of(row: Row[Any]) -> Sandbox:
    values = {name: getattr(row, name) for name in _COLUMNS}
    values |= {
        "at_end": AtEnd(row.at_end),
        "wish": Wish(row.wish),
        "status": SandboxStatus(row.status),
        "not_enforced": tuple(row.not_enforced),
        "doors": tuple(row.doors),
    }
    return Sandbox(**values)


def _one(row: Row[Any] | None) -> Sandbox | None:
    return _sandbox_of(row) if row is not None else None


# -- sandboxes -------------------------------------------------------------------------------------------


async def add(transaction: Transaction, sandbox: Sandbox) -> bool:
    """False where its owner has one of that name already."""
    return (await transaction.connection.execute(_INSERT, _row_of(sandbox))).first() is not None


async def save(transaction: Transaction, sandbox: Sandbox) -> None:
    values = {name: value for name, value in _row_of(sandbox).items() if name not in _FIXED - {"id"}}
    await transaction.connection.execute(_UPDATE, values)


async def lock(transaction: Transaction, sandbox: uuid.UUID) -> Sandbox | None:
    """Whichever project it is in: for what was asked for before."""
    return _one((await transaction.connection.execute(_LOCK, {"id": sandbox})).first())


async def lock_for_work(transaction: Transaction, sandbox: uuid.UUID) -> Locked | None:
    row = (await transaction.connection.execute(_LOCK_FOR_WORK, {"id": sandbox})).first()
    return Locked(_sandbox_of(row), row.moment, row.is_waited_for) if row is not None else None


async def find(connection: AsyncConnection, sandbox: uuid.UUID) -> Sandbox | None:
    """Whichever project it is in."""
    return _one((await connection.execute(_FIND, {"id": sandbox})).first())


async def get(connection: AsyncConnection, project: uuid.UUID, sandbox: uuid.UUID) -> Sandbox | None:
    return _one((await connection.execute(_GET, {"id": sandbox, "project": project})).first())


async def owned(connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID, name: str) -> Sandbox | None:
    return _one((await connection.execute(_OWNED, {"project": project, "run": run, "name": name})).first())


async def page(
    connection: AsyncConnection,
    project: uuid.UUID,
    *,
    limit: int,
    before: uuid.UUID | None = None,
    status: SandboxStatus | None = None,
) -> list[Sandbox]:
    values = {"project": project, "limit": limit, "before": before, "status": status}
    return list(map(_sandbox_of, await connection.execute(_PAGE, values)))


async def these(connection: AsyncConnection, ids: Collection[uuid.UUID]) -> list[Sandbox]:
    return list(map(_sandbox_of, await connection.execute(_THESE, {"ids": list(ids)})))


async def on_node(connection: AsyncConnection, node: str) -> list[Sandbox]:
    """Those that have not ended."""
    return list(map(_sandbox_of, await connection.execute(_ON_NODE, {"node": node})))


async def nodes_in_use(connection: AsyncConnection) -> set[str]:
    return set((await connection.execute(_NODES_IN_USE)).scalars())


async def living(connection: AsyncConnection, project: uuid.UUID) -> list[Sandbox]:
    """Those of a project that have not ended."""
    return list(map(_sandbox_of, await connection.execute(_LIVING, {"project": project})))


async def paused_long(connection: AsyncConnection, days: int) -> list[Sandbox]:
    return list(map(_sandbox_of, await connection.execute(_PAUSED_LONG, {"days": days})))


async def forget(transaction: Transaction, days: int) -> None:
    """Those that have ended so long ago."""
    await transaction.connection.execute(_FORGET, {"days": days})


async def moment(transaction: Transaction, project: uuid.UUID) -> tuple[datetime, bool]:
    """By the clock of the database, and whether that project is deleted."""
    row = (await transaction.connection.execute(_MOMENT, {"project": project})).one()
    return row.moment, row.is_deleted


# -- who waits -------------------------------------------------------------------------------------------


async def wait(transaction: Transaction, command: uuid.UUID, sandbox: Sandbox, wish: str) -> None:
    values = {"command": command, "sandbox": sandbox.id, "wish": wish, "generation": sandbox.generation}
    await transaction.connection.execute(_WAIT, values)


async def waiting(
    transaction: Transaction, sandbox: uuid.UUID, generation: int
) -> Sequence[tuple[uuid.UUID, str]]:
    """Commands, in their order, that had been given when that was asked for, and what each wanted."""
    values = {"sandbox": sandbox, "generation": generation}
    rows = await transaction.connection.execute(_WAITING, values)
    return [(row.command_id, row.wish) for row in rows]


async def answered(transaction: Transaction, commands: Collection[uuid.UUID]) -> None:
    await transaction.connection.execute(_ANSWERED, {"commands": list(commands)})


# -- nodes -----------------------------------------------------------------------------------------------


async def enroll(connection: AsyncConnection, node: str, capacity: int) -> None:
    await connection.execute(_ENROLL, {"node": node, "capacity": capacity})


async def has_room(transaction: Transaction, node: str) -> bool:
    """Nobody else takes the last place before this transaction ends."""
    capacity = (await transaction.connection.execute(_ROOM, {"node": node})).scalar_one()
    used = (await transaction.connection.execute(_USED, {"node": node})).scalar_one()
    return bool(used < capacity)


async def beat(connection: AsyncConnection, instance: str, node: str, url: str) -> None:
    await connection.execute(_BEAT, {"name": instance, "node": node, "url": url})


async def instances(connection: AsyncConnection) -> list[Instance]:
    return [Instance(**row._mapping) for row in await connection.execute(_INSTANCES)]  # noqa: SLF001 - its public name


async def leave(connection: AsyncConnection, names: Collection[str]) -> None:
    await connection.execute(_LEAVE, {"names": list(names)})


# -- projects --------------------------------------------------------------------------------------------


async def set_deleted(transaction: Transaction, project: uuid.UUID, *, deleted: bool) -> None:
    await transaction.connection.execute(_DELETED if deleted else _RESTORED, {"project": project})


# -- runs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What is known of a run: facts of it and requests for it come in any order."""

    stopping: bool
    ended: bool
    keep_sandbox: bool


async def lock_run(transaction: Transaction, project: uuid.UUID, run: uuid.UUID) -> Run:
    values = {"project": project, "run": run}
    await transaction.connection.execute(_NOTE_RUN, values)
    row = (await transaction.connection.execute(_LOCK_RUN, values)).one()
    return Run(row.stopping, row.ended, row.keep_sandbox)


async def save_run(transaction: Transaction, project: uuid.UUID, run: uuid.UUID, known: Run) -> None:
    values = {"project": project, "run": run, **asdict(known)}
    await transaction.connection.execute(_SAVE_RUN, values)


async def has_ended(connection: AsyncConnection, sandbox: uuid.UUID) -> bool:
    """The run that it is for, if there is one."""
    return bool((await connection.execute(_HAS_ENDED, {"sandbox": sandbox})).scalar())


async def of_run(connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID) -> list[Sandbox]:
    """Those that have not ended."""
    return list(map(_sandbox_of, await connection.execute(_OF_RUN, {"project": project, "run": run})))


async def forget_runs(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET_RUNS, {"days": days})


# -- templates -------------------------------------------------------------------------------------------


async def templates(connection: AsyncConnection, project: uuid.UUID) -> list[Template]:
    return [Template(*row) for row in await connection.execute(_TEMPLATES, {"project": project})]


async def template(connection: AsyncConnection, project: uuid.UUID, name: str) -> Template | None:
    row = (await connection.execute(_TEMPLATE_CALLED, {"project": project, "name": name})).first()
    return Template(*row) if row is not None else None


async def template_of(connection: AsyncConnection, layer: uuid.UUID) -> Template | None:
    """Also one that was removed, as long as something is made of it."""
    row = (await connection.execute(_TEMPLATE_OF_LAYER, {"layer": layer})).first()
    return Template(*row) if row is not None else None


async def remove_template(transaction: Transaction, project: uuid.UUID, name: str) -> bool:
    """What is made of it goes on."""
    values = {"project": project, "name": name}
    return (await transaction.connection.execute(_REMOVE_TEMPLATE, values)).first() is not None


async def keep_template(transaction: Transaction, kept: Template) -> None:
    """In the place of the one of that name; once."""
    if await template_of(transaction.connection, kept.id) is not None:
        return
    await remove_template(transaction, kept.project_id, kept.name)
    values = {name: getattr(kept, name) for name in _TEMPLATE_COLUMNS} | {"env": json.dumps(dict(kept.env))}
    await transaction.connection.execute(_KEEP_TEMPLATE, values)


async def layers_in_use(connection: AsyncConnection) -> set[uuid.UUID]:
    return set((await connection.execute(_LAYERS_IN_USE)).scalars())


async def forget_layer(connection: AsyncConnection, layer: uuid.UUID) -> None:
    await connection.execute(_FORGET_LAYER, {"layer": layer})
