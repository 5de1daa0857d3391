"""The audit log: lines are added, and never anything else."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.store.tables import audit, audit_head
from signalbox_common.db import Transaction

_LOCK_HEAD = select(audit_head).with_for_update()
_ADD = insert(audit).inline()
_NOTE = update(audit_head).values(sequence=bindparam("last"), hash=bindparam("last_hash"))


async def lock_head(transaction: Transaction) -> tuple[int, bytes]:
    """The number and the hash of the last line; held, so that lines are added one after the other."""
    row = (await transaction.connection.execute(_LOCK_HEAD)).one()
    return int(row.sequence), bytes(row.hash)


async def add(transaction: Transaction, lines: Sequence[dict[str, Any]]) -> None:
    """The lines, and the note which of them is the last one."""
    await transaction.connection.execute(_ADD, lines)
    last = {"last": lines[-1]["sequence"], "last_hash": lines[-1]["hash"]}
    await transaction.connection.execute(_NOTE, last)


async def head(connection: AsyncConnection) -> tuple[int, bytes]:
    row = (await connection.execute(select(audit_head))).one()
    return int(row.sequence), bytes(row.hash)


async def after(connection: AsyncConnection, sequence: int, limit: int) -> Sequence[Row[Any]]:
    """Oldest first."""
    return (
        await connection.execute(
            select(audit).where(audit.c.sequence > sequence).order_by(audit.c.sequence).limit(limit)
        )
    ).all()


async def hash_of(connection: AsyncConnection, sequence: int) -> bytes | None:
    found = (
        await connection.execute(select(audit.c.hash).where(audit.c.sequence == sequence))
    ).scalar_one_or_none()
    return bytes(found) if found is not None else None


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    before: int | None,
    project: uuid.UUID | None,
    actor: uuid.UUID | None,
    action: str | None,
    outcome: str | None,
    resource: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Sequence[Row[Any]]:
    """Newest first."""
    query = select(audit).order_by(audit.c.sequence.desc()).limit(limit)
    for column, value in (
        (audit.c.project, project),
        (audit.c.actor, actor),
        (audit.c.outcome, outcome),
        (audit.c.resource, resource),
    ):
        if value is not None:
            query = query.where(column == value)
    if action is not None:
        whole = not action.endswith(".")
        query = query.where(
            audit.c.action == action if whole else audit.c.action.startswith(action, autoescape=True)
        )
    if before is not None:
        query = query.where(audit.c.sequence < before)
    if since is not None:
        query = query.where(audit.c.at >= since)
    if until is not None:
        query = query.where(audit.c.at < until)
    return (await connection.execute(query)).all()
