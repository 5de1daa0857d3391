"""Failed logins."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.attempts import FORGOTTEN_AFTER, Count, failures_now
from signalbox_auth.store.tables import attempts, known_places
from signalbox_common.db import Transaction

_PLACES_KEPT_DAYS = 180


async def is_known_place(connection: AsyncConnection, user_id: uuid.UUID, address: str | None) -> bool:
    """Whether this user has signed in from there before."""
    found = select(known_places.c.user_id).where(
        known_places.c.user_id == user_id, known_places.c.address == address
    )
    return (await connection.execute(found)).first() is not None


async def blocked_until(connection: AsyncConnection, counts: Sequence[Count]) -> datetime | None:
    found = select(func.max(attempts.c.blocked_until)).where(attempts.c.key.in_([c.key for c in counts]))
    until: datetime | None = (await connection.execute(found)).scalar_one()
    return until


async def failed(transaction: Transaction, counts: Sequence[Count], now: datetime) -> None:
    for count in sorted(counts, key=lambda count: count.key):  # one order for all, against deadlocks
        row = (
            await transaction.connection.execute(
                insert(attempts)
                .values(key=count.key, failures=0, last_failed_at=now, blocked_until=now)
                .on_conflict_do_update(index_elements=["key"], set_={"key": count.key})
                .returning(attempts.c.failures, attempts.c.last_failed_at)
            )
        ).one()
        failures = failures_now(row.failures, row.last_failed_at, now) + 1
        await transaction.connection.execute(
            attempts.update()
            .where(attempts.c.key == count.key)
            .values(
                failures=failures, last_failed_at=now, blocked_until=now + count.limit.wait_after(failures)
            )
        )


async def succeeded(
    transaction: Transaction, pair: Count, user_id: uuid.UUID, address: str | None, now: datetime
) -> None:
    """Forgets the failures of this account from here, and remembers the place."""
    await transaction.connection.execute(delete(attempts).where(attempts.c.key == pair.key))
    if address is not None:
        await transaction.connection.execute(
            insert(known_places)
            .values(user_id=user_id, address=address, seen_at=now)
            .on_conflict_do_update(index_elements=["user_id", "address"], set_={"seen_at": now})
        )


async def tidy(transaction: Transaction, now: datetime) -> None:
    await transaction.connection.execute(
        delete(attempts).where(
            attempts.c.last_failed_at < now - FORGOTTEN_AFTER, attempts.c.blocked_until < now
        )
    )
    old = func.now() - func.make_interval(0, 0, 0, _PLACES_KEPT_DAYS)
    await transaction.connection.execute(delete(known_places).where(known_places.c.seen_at < old))
