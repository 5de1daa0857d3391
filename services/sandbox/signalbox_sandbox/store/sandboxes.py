"""Sandboxes."""

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.sandbox import AtEnd, SandboxStatus
from signalbox_common.db import Transaction
from signalbox_sandbox.domain import Sandbox, Wish

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
_HAVING = text(
    f"{_SELECT} where status in ('creating', 'running', 'paused') and workspace is not null "
    "and workspace->>'checkout' = :checkout and project_id = :project order by id"
)
_THESE = text(f"{_SELECT} where id = any(cast(:ids as uuid[]))")
_ON_NODE = text(f"{_SELECT} where node = :node and status in ('creating', 'running', 'paused')")
_NODES_IN_USE = text(
    "select distinct node from sandbox.sandboxes "
    "where node is not null and status in ('creating', 'running', 'paused')"
)
_LIVING = text(
    f"{_SELECT} where project_id = :project and status in ('creating', 'running', 'paused') order by id"
)
_COUNT_LIVING = text(
    "select count(*) from sandbox.sandboxes "
    "where project_id = :project and status in ('creating', 'running', 'paused')"
)
_PAUSED_LONG = text(
    f"{_SELECT} where status = 'paused' and since < sandbox.clock() - :days * interval '1 day'"
)
_FORGET = text(
    "delete from sandbox.sandboxes where status in ('destroyed', 'failed', 'lost') "
    "and since < sandbox.clock() - :days * interval '1 day'"
)
_OF_RUN = text(
    f"{_SELECT} where project_id = :project and owner_run = :run "
    "and status in ('creating', 'running', 'paused') order by id"
)


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


async def having(connection: AsyncConnection, project: uuid.UUID, checkout: uuid.UUID) -> list[Sandbox]:
    """Those that begin with it, or have."""
    values = {"project": project, "checkout": str(checkout)}
    return list(map(_sandbox_of, await connection.execute(_HAVING, values)))


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


async def count_living(connection: AsyncConnection, project: uuid.UUID) -> int:
    return int((await connection.execute(_COUNT_LIVING, {"project": project})).scalar_one())


async def of_run(connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID) -> list[Sandbox]:
    """Those that have not ended."""
    return list(map(_sandbox_of, await connection.execute(_OF_RUN, {"project": project, "run": run})))


async def paused_long(connection: AsyncConnection, days: int) -> list[Sandbox]:
    return list(map(_sandbox_of, await connection.execute(_PAUSED_LONG, {"days": days})))


async def forget(transaction: Transaction, days: int) -> None:
    """Those that have ended so long ago."""
    await transaction.connection.execute(_FORGET, {"days": days})
