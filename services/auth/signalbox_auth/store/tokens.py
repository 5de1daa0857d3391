"""API tokens."""

import uuid
from typing import Any

from sqlalchemy import Row, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.tokens import ApiToken
from signalbox_auth.store import facts
from signalbox_auth.store.tables import api_tokens, users
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.db import Transaction


async def add(transaction: Transaction, token: ApiToken, hashed: bytes, created_by: uuid.UUID) -> None:
    await transaction.connection.execute(
        insert(api_tokens).values(
            id=token.id,
            user_id=token.user_id,
            name=token.name,
            hash=hashed,
            hint=token.hint,
            scopes=list(token.scopes),
            expires_at=token.expires_at,
            created_at=token.created_at,
            created_by=created_by,
        )
    )


async def of_user(connection: AsyncConnection, user_id: uuid.UUID) -> list[ApiToken]:
    """Those that can be used, newest first."""
    rows = await connection.execute(
        select(api_tokens)
        .where(
            api_tokens.c.user_id == user_id,
            api_tokens.c.revoked_at.is_(None),
            or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > func.now()),
        )
        .order_by(api_tokens.c.id.desc())
        .limit(500)
    )
    return [_token(row) for row in rows]


async def count(connection: AsyncConnection, user_id: uuid.UUID) -> int:
    """Those that can be used."""
    counted: int = (
        await connection.execute(
            select(func.count()).where(
                api_tokens.c.user_id == user_id,
                api_tokens.c.revoked_at.is_(None),
                or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > func.now()),
            )
        )
    ).scalar_one()
    return counted


async def count_of_accounts(connection: AsyncConnection, project_id: uuid.UUID) -> int:
    """The same of all service accounts of a project."""
    counted: int = (
        await connection.execute(
            select(func.count())
            .select_from(api_tokens)
            .join(users, users.c.id == api_tokens.c.user_id)
            .where(
                users.c.home_project == project_id,
                api_tokens.c.revoked_at.is_(None),
                or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > func.now()),
            )
        )
    ).scalar_one()
    return counted


async def revoke(transaction: Transaction, user_id: uuid.UUID, *, only: uuid.UUID | None = None) -> int:
    """One token of a user, or all; answers how many."""
    query = api_tokens.update().where(api_tokens.c.user_id == user_id, api_tokens.c.revoked_at.is_(None))
    if only is not None:
        query = query.where(api_tokens.c.id == only)
    rows = await transaction.connection.execute(
        query.values(revoked_at=func.now()).returning(api_tokens.c.id)
    )
    ended = list(rows.scalars())
    for token_id in ended:
        facts.revoke(transaction, AccessRevoked(token_id=token_id))
    return len(ended)


async def note_use(transaction: Transaction, token_id: uuid.UUID) -> None:
    await transaction.connection.execute(
        api_tokens.update().where(api_tokens.c.id == token_id).values(last_used_at=func.now())
    )


def _token(row: Row[Any]) -> ApiToken:
    return ApiToken(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        scopes=tuple(row.scopes),
        expires_at=row.expires_at,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        hint=row.hint,
    )
