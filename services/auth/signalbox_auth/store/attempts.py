"""Failed logins."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import LargeBinary, any_, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.attempts import FORGOTTEN_AFTER, Count, failures_now
from signalbox_auth.errors import TooManyAttempts
from signalbox_auth.store.tables import attempts, known_places
from signalbox_common.db import Transaction

_PLACES_KEPT_DAYS = 180
_BLOCKED = select(func.max(attempts.c.blocked_until)).where(
    attempts.c.key == any_(bindparam("keys", type_=ARRAY(LargeBinary)))
)


async def blocked_until(connection: AsyncConnection, counts: Sequence[Count]) -> datetime | None:
    """None where nothing that counts here has failed for a while."""
    until: datetime | None = (
        await connection.execute(_BLOCKED, {"keys": [count.key for count in counts]})
    ).scalar_one()
    return until


async def check(connection: AsyncConnection, counts: Sequence[Count]) -> datetime | None:
    """Raises TooManyAttempts while they have to wait; answers until when they last had to."""
    until = await blocked_until(connection, counts)
    now = datetime.now(UTC)
    if until is not None and until > now:
        raise TooManyAttempts(int((until - now).total_seconds()) + 1)
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


async def forget(transaction: Transaction, count: Count) -> None:
    await transaction.connection.execute(delete(attempts).where(attempts.c.key == count.key))


async def remember_place(
    transaction: Transaction, user_id: uuid.UUID, address: str | None, now: datetime
) -> None:
    """From here, failures elsewhere do not hold this user back."""
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
