"""Checkouts, and which sandboxes have them."""

import json
import uuid
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.git import CheckoutState
from signalbox_common.db import Transaction
from signalbox_git.domain import Checkout

_COLUMNS = tuple(field.name for field in fields(Checkout))
_JSON = frozenset({"wanted", "error"})
_CHANGING = ("state", "commit", "branch", "base", "error", "folder", "version")


def _value(name: str) -> str:
    return f"cast(:{name} as jsonb)" if name in _JSON else f":{name}"


_SELECT = f"select {', '.join(_COLUMNS)} from git.checkouts"  # noqa: S608 - names of ours
_INSERT = text(
    f"insert into git.checkouts ({', '.join(_COLUMNS)}, held_since) "  # noqa: S608 - names of ours
    f"values ({', '.join(map(_value, _COLUMNS))}, git.clock())"
)
_UPDATE = text(
    "update git.checkouts set "  # noqa: S608 - names of ours
    + ", ".join(f"{name} = {_value(name)}" for name in _CHANGING)
    + ", held_since = git.clock() where id = :id"
)
_GET = text(f"{_SELECT} where id = :id and project_id = :project")
_LOCK = text(f"{_SELECT} where id = :id and project_id = :project for update")
_OF_RUN = text(f"{_SELECT} where project_id = :project and run = :run order by id desc limit 1")
_CLAIM = text(
    """
    insert into git.checkout_sandboxes (sandbox, checkout_id, version, ended)
    select :sandbox, id, :version, :ended from git.checkouts where id = :checkout and project_id = :project
    on conflict (sandbox) do update set version = excluded.version, ended = excluded.ended
    where checkout_sandboxes.version < excluded.version
    """
)
_TOUCH = text(
    "update git.checkouts set held_since = git.clock() where id = :checkout and project_id = :project"
)
_UNCLAIMED = text(
    f"""
    {_SELECT} where folder is not null and held_since < git.clock() - :seconds * interval '1 second'
    and not exists (
        select from git.checkout_sandboxes where checkout_id = checkouts.id and not ended
    )
    and (run is null or exists (
        select from git.runs
        where runs.project_id = checkouts.project_id and runs.run = checkouts.run and runs.ended
    ))
    order by id limit 100 for update skip locked
    """  # noqa: S608 - names of ours
)
_HOLDS = text("select exists (select from git.checkouts where project_id = :project and folder = :folder)")
_FORGET = text(
    "delete from git.checkouts where folder is null and held_since < git.clock() - :days * interval '1 day'"
)


def _row_of(found: Checkout) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in _COLUMNS}
    return values | {name: json.dumps(values[name]) for name in _JSON if values[name] is not None}


def _one(row: Row[Any] | None) -> Checkout | None:
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Checkout(**values | {"state": CheckoutState(row.state)})


async def add(transaction: Transaction, found: Checkout) -> None:
    await transaction.connection.execute(_INSERT, _row_of(found))


async def save(transaction: Transaction, found: Checkout) -> None:
    values = _row_of(found)
    await transaction.connection.execute(_UPDATE, {name: values[name] for name in ("id", *_CHANGING)})


async def get(connection: AsyncConnection, project: uuid.UUID, checkout: uuid.UUID) -> Checkout | None:
    return _one((await connection.execute(_GET, {"id": checkout, "project": project})).first())


async def lock(transaction: Transaction, project: uuid.UUID, checkout: uuid.UUID) -> Checkout | None:
    values = {"id": checkout, "project": project}
    return _one((await transaction.connection.execute(_LOCK, values)).first())


async def of_run(connection: AsyncConnection, project: uuid.UUID, run: uuid.UUID) -> Checkout | None:
    """The newest."""
    return _one((await connection.execute(_OF_RUN, {"project": project, "run": run})).first())


async def claim(
    transaction: Transaction,
    project: uuid.UUID,
    checkout: uuid.UUID,
    *,
    sandbox: uuid.UUID,
    version: int,
    ended: bool,
) -> None:
    """What a sandbox does with it; what is older than what is known changes nothing."""
    values: dict[str, Any] = {"project": project, "checkout": checkout}
    await transaction.connection.execute(
        _CLAIM, values | {"sandbox": sandbox, "version": version, "ended": ended}
    )
    await transaction.connection.execute(_TOUCH, values)


async def unclaimed(transaction: Transaction, seconds: float) -> list[Checkout]:
    """Whose run has ended, and which no sandbox has, for as long as that."""
    rows = await transaction.connection.execute(_UNCLAIMED, {"seconds": seconds})
    return [found for row in rows if (found := _one(row)) is not None]


async def holds(connection: AsyncConnection, project: uuid.UUID, folder: str) -> bool:
    """Whether some checkout has that tree."""
    return bool((await connection.execute(_HOLDS, {"project": project, "folder": folder})).scalar())


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
