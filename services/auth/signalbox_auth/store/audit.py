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
# The names of the parameters are none of columns: SQLAlchemy would set those in both tables.
_ADD = (
    insert(audit)
    .values({column.name: bindparam(f"line_{column.name}") for column in audit.c})
    .inline()
    .add_cte(
        update(audit_head)
        .values(sequence=bindparam("line_sequence"), hash=bindparam("line_hash"))
        .cte("noted")
    )
)


async def lock_head(transaction: Transaction) -> tuple[int, bytes]:
    """The number and the hash of the last line; held, so that lines are added one after the other."""
    row = (await transaction.connection.execute(_LOCK_HEAD)).one()
    return int(row.sequence), bytes(row.hash)


async def add(transaction: Transaction, line: dict[str, Any], sealed: bytes) -> None:
    """The line, and the note that it is the last one, in one statement."""
    values = {f"line_{name}": value for name, value in (line | {"hash": sealed}).items()}
    await transaction.connection.execute(_ADD, values)


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
