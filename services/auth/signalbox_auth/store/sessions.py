"""Sessions."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.sessions import RefreshToken, Session
from signalbox_auth.store import facts
from signalbox_auth.store.tables import devices, sessions
from signalbox_common.contracts.auth import AccessRevoked, SessionRevoked
from signalbox_common.db import Transaction

_ADDED = (
    "id",
    "user_id",
    "client",
    "address",
    "created_at",
    "last_used_at",
    "expires_at",
    "generation",
    "refresh_hash",
)
_ADD = insert(sessions).values({name: bindparam(name) for name in _ADDED}).inline()
LOGOUT = "logout"
KEPT = "30 days"
"""How long ended sessions are kept, so that an old refresh token still tells of its reuse."""


async def add(transaction: Transaction, session: Session) -> None:
    await transaction.connection.execute(_ADD, {name: getattr(session, name) for name in _ADDED})


async def lock(transaction: Transaction, session_id: uuid.UUID) -> Session | None:
    row = (
        await transaction.connection.execute(
            select(sessions).where(sessions.c.id == session_id).with_for_update()
        )
    ).first()
    return _session(row) if row is not None else None


async def rotate(
    transaction: Transaction,
    successor: RefreshToken,
    *,
    now: datetime,
    expires_at: datetime,
    address: str | None,
) -> None:
    await transaction.connection.execute(
        sessions.update()
        .where(sessions.c.id == successor.session_id)
        .values(
            generation=successor.generation,
            refresh_hash=successor.hash,
            rotated_at=now,
            last_used_at=now,
            expires_at=expires_at,
            address=address,
        )
    )


async def live(connection: AsyncConnection, user_id: uuid.UUID) -> list[Session]:
    """Those that can still be used, the latest used first."""
    rows = await connection.execute(
        select(sessions)
        .where(
            sessions.c.user_id == user_id,
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > func.now(),
        )
        .order_by(sessions.c.last_used_at.desc(), sessions.c.id)
        .limit(500)
    )
    return [_session(row) for row in rows]


async def revoke(
    transaction: Transaction,
    user_id: uuid.UUID,
    reason: str,
    *,
    only: uuid.UUID | None = None,
    but: uuid.UUID | None = None,
) -> int:
    """Ends one session of a user, all of them, or all but one; answers how many."""
    query = sessions.update().where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    if only is not None:
        query = query.where(sessions.c.id == only)
    if but is not None:
        query = query.where(sessions.c.id != but)
    rows = await transaction.connection.execute(
        query.values(revoked_at=func.now(), reason=reason).returning(sessions.c.id)
    )
    ended = list(rows.scalars())
    if reason != LOGOUT:
        # What one of them has approved must not begin a new one.
        await transaction.connection.execute(delete(devices).where(devices.c.user_id == user_id))
    for session_id in ended:
        facts.record(transaction, SessionRevoked(id=session_id, user_id=user_id, reason=reason))
        facts.revoke(transaction, AccessRevoked(session_id=session_id))
    return len(ended)


async def tidy(transaction: Transaction) -> None:
    old = text(f"now() - interval '{KEPT}'")
    await transaction.connection.execute(delete(sessions).where(sessions.c.expires_at < old))


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        user_id=row.user_id,
        client=row.client,
        address=row.address,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        generation=row.generation,
        refresh_hash=bytes(row.refresh_hash),
        rotated_at=row.rotated_at,
        revoked_at=row.revoked_at,
    )
