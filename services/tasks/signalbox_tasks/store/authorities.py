"""Rights to act for somebody that schedules and triggers have, as long as anything needs them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_HOLDERS = ("schedules", "triggers")
_HOLDER = text(
    " union all ".join(
        f"select id, proof_at, delegated from tasks.{each} where authority = :authority"  # noqa: S608 - names of ours
        for each in _HOLDERS
    )
)
_DELEGATED = tuple(
    text(f"update tasks.{each} set delegated = true where authority = :authority returning id")  # noqa: S608 - as above
    for each in _HOLDERS
)
_IN_USE = text(
    "select exists (select from tasks.schedules where authority = :authority) "
    "or exists (select from tasks.triggers where authority = :authority) "
    "or exists (select from tasks.runs where authority = :authority and holder is not null "
    "and finished_at is null)"
)


@dataclass(frozen=True)
class Holder:
    """A schedule, or a trigger."""

    id: uuid.UUID
    proof_at: datetime
    delegated: bool


async def holder(connection: AsyncConnection, authority: uuid.UUID) -> Holder | None:
    """The one that has it."""
    row = (await connection.execute(_HOLDER, {"authority": authority})).first()
    return Holder(row.id, row.proof_at, row.delegated) if row is not None else None


async def set_delegated(transaction: Transaction, authority: uuid.UUID) -> bool:
    """From now on it may start something; False where none acts under that any more."""
    for each in _DELEGATED:
        if (await transaction.connection.execute(each, {"authority": authority})).first() is not None:
            return True
    return False


async def is_in_use(connection: AsyncConnection, authority: uuid.UUID) -> bool:
    """Whether somebody has it, or a run that was started under it goes on."""
    return bool((await connection.execute(_IN_USE, {"authority": authority})).scalar())
