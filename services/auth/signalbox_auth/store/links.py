"""Links that are good once; only their hashes are here."""

import uuid
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.links import OneTimeLink, Purpose, StoredLink
from signalbox_auth.store.tables import links
from signalbox_common.db import Transaction


async def add(
    transaction: Transaction,
    link: OneTimeLink,
    expires_at: datetime,
    *,
    user_id: uuid.UUID | None = None,
    invitation_id: uuid.UUID | None = None,
    mailed: bool,
) -> None:
    await transaction.connection.execute(
        insert(links).values(
            hash=link.hash,
            purpose=link.purpose,
            user_id=user_id,
            invitation_id=invitation_id,
            mailed=mailed,
            expires_at=expires_at,
        )
    )


async def find(connection: AsyncConnection, hashed: bytes, purpose: Purpose) -> StoredLink | None:
    """None for one that was used, or has ended."""
    row = (
        await connection.execute(
            select(links).where(
                links.c.hash == hashed, links.c.purpose == purpose, links.c.expires_at > func.now()
            )
        )
    ).first()
    return StoredLink(row.user_id, row.invitation_id, row.mailed) if row is not None else None


async def use(transaction: Transaction, hashed: bytes) -> bool:
    """False where somebody else was faster."""
    row = await transaction.connection.execute(
        delete(links).where(links.c.hash == hashed, links.c.expires_at > func.now()).returning(links.c.hash)
    )
    return row.first() is not None


async def forget(
    transaction: Transaction, user_id: uuid.UUID, *purposes: Purpose, mailed: bool | None = None
) -> None:
    """Those of a user are not good any more."""
    query = delete(links).where(links.c.user_id == user_id, links.c.purpose.in_(purposes))
    if mailed is not None:
        query = query.where(links.c.mailed.is_(mailed))
    await transaction.connection.execute(query)


async def tidy(transaction: Transaction) -> None:
    await transaction.connection.execute(delete(links).where(links.c.expires_at < func.now()))
