"""Which letters were sent when: strangers can have them sent, and shall not fill anybody's mailbox."""

from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert

from signalbox_auth.store.tables import letters
from signalbox_common.db import Transaction

APART = timedelta(minutes=5)
"""Two letters of one kind to one address."""


async def may_send(transaction: Transaction, key: bytes, job: int) -> bool:
    """Whether none was sent a moment ago; a repeat of the same job is no other letter."""
    row = await transaction.connection.execute(
        insert(letters)
        .values(key=key, job=job, sent_at=func.now())
        .on_conflict_do_update(
            index_elements=["key"],
            set_={"job": job, "sent_at": func.now()},
            where=(letters.c.job == job) | (letters.c.sent_at < func.now() - APART),
        )
        .returning(letters.c.key)
    )
    return row.first() is not None


async def tidy(transaction: Transaction) -> None:
    await transaction.connection.execute(delete(letters).where(letters.c.sent_at < func.now() - APART))
