"""What a grant is made of: who holds this token, and as what in this project; one statement each."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    bindparam,
    delete,
    func,
    null,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.users import User
from signalbox_auth.store import users as user_rows
from signalbox_auth.store.tables import api_tokens, delegations, members, projects, sessions, users
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction


@dataclass(frozen=True)
class Holder:
    """An active user, what speaks for them, and their role in the project that was asked for."""

    user: User
    role: ProjectRole | None
    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    token_used_at: datetime | None = None
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Delegation:
    id: uuid.UUID
    service: str
    user_id: uuid.UUID
    project_id: uuid.UUID
    run: str
    verbs: tuple[str, ...]
    role_needed: ProjectRole
    expires_at: datetime
    token_id: uuid.UUID | None
    scopes: tuple[str, ...] | None


def _holding(proof: FromClause, good: ColumnElement[bool], *columns: Any) -> Select[Any]:
    """Active users with a good proof, and with their role in a project that is there."""
    membership = (
        select(members.c.role)
        .join(projects, projects.c.id == members.c.project_id)
        .where(
            members.c.user_id == users.c.id,
            members.c.project_id == bindparam("project_id"),
            projects.c.deleted_at.is_(None),
        )
        .scalar_subquery()
    )
    return (
        select(users, membership.label("project_role"), *columns)
        .join(proof, proof.c.user_id == users.c.id)
        .where(users.c.deactivated_at.is_(None), good)
    )


_BY_SESSION = _holding(
    sessions,
    (sessions.c.id == bindparam("session_id"))
    & sessions.c.revoked_at.is_(None)
    & (sessions.c.expires_at > func.now()),
    sessions.c.id.label("session_id"),
    null().label("token_id"),
    null().label("token_used_at"),
    null().label("scopes"),
    sessions.c.expires_at,
)
_BY_TOKEN = _holding(
    api_tokens,
    (api_tokens.c.hash == bindparam("hash"))
    & api_tokens.c.revoked_at.is_(None)
    & or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > func.now()),
    null().label("session_id"),
    api_tokens.c.id.label("token_id"),
    api_tokens.c.last_used_at.label("token_used_at"),
    api_tokens.c.scopes,
    api_tokens.c.expires_at,
)
_BY_DELEGATION = _holding(
    delegations,
    (delegations.c.hash == bindparam("hash"))
    & (delegations.c.project_id == bindparam("project_id"))
    & delegations.c.revoked_at.is_(None)
    & (delegations.c.expires_at > func.now()),
    null().label("session_id"),
    delegations.c.token_id,
    null().label("token_used_at"),
    delegations.c.scopes,
    delegations.c.expires_at,
)


async def by_session(
    connection: AsyncConnection, session_id: uuid.UUID, user_id: uuid.UUID, project_id: uuid.UUID | None
) -> Holder | None:
    """None where the session has ended, or its user is not active."""
    row = (
        await connection.execute(_BY_SESSION, {"session_id": session_id, "project_id": project_id})
    ).first()
    holder = _holder(row) if row is not None else None
    return holder if holder is not None and holder.user.id == user_id else None


async def by_token(connection: AsyncConnection, hashed: bytes, project_id: uuid.UUID | None) -> Holder | None:
    row = (await connection.execute(_BY_TOKEN, {"hash": hashed, "project_id": project_id})).first()
    return _holder(row) if row is not None else None


async def by_delegation(connection: AsyncConnection, hashed: bytes) -> tuple[Holder, Delegation] | None:
    """None where it has ended; an API token that it came from must still be good."""
    found = (
        await connection.execute(
            select(delegations)
            .join(api_tokens, api_tokens.c.id == delegations.c.token_id, isouter=True)
            .where(
                delegations.c.hash == hashed,
                or_(
                    delegations.c.token_id.is_(None),
                    api_tokens.c.revoked_at.is_(None)
                    & or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > func.now()),
                ),
            )
        )
    ).first()
    if found is None:
        return None
    row = (await connection.execute(_BY_DELEGATION, {"hash": hashed, "project_id": found.project_id})).first()
    return (_holder(row), _delegation(found)) if row is not None else None


async def add_delegation(transaction: Transaction, delegation: Delegation, hashed: bytes) -> None:
    await transaction.connection.execute(
        insert(delegations).values(
            id=delegation.id,
            hash=hashed,
            service=delegation.service,
            user_id=delegation.user_id,
            project_id=delegation.project_id,
            run=delegation.run,
            verbs=list(delegation.verbs),
            role_needed=delegation.role_needed,
            token_id=delegation.token_id,
            scopes=list(delegation.scopes) if delegation.scopes is not None else None,
            created_at=func.now(),
            expires_at=delegation.expires_at,
        )
    )


async def end_delegation(transaction: Transaction, hashed: bytes) -> uuid.UUID | None:
    """None where it has ended before."""
    row = await transaction.connection.execute(
        delegations.update()
        .where(delegations.c.hash == hashed, delegations.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(delegations.c.id)
    )
    ended: uuid.UUID | None = row.scalar_one_or_none()
    return ended


async def tidy(transaction: Transaction) -> None:
    old = text("now() - interval '30 days'")
    await transaction.connection.execute(delete(delegations).where(delegations.c.expires_at < old))


def _holder(row: Row[Any]) -> Holder:
    return Holder(
        user=user_rows.of(row),
        role=ProjectRole(row.project_role) if row.project_role is not None else None,
        session_id=row.session_id,
        token_id=row.token_id,
        token_used_at=row.token_used_at,
        scopes=tuple(row.scopes) if row.scopes else None,
        expires_at=row.expires_at,
    )


def _delegation(row: Row[Any]) -> Delegation:
    return Delegation(
        id=row.id,
        service=row.service,
        user_id=row.user_id,
        project_id=row.project_id,
        run=row.run,
        verbs=tuple(row.verbs),
        role_needed=ProjectRole(row.role_needed),
        expires_at=row.expires_at,
        token_id=row.token_id,
        scopes=tuple(row.scopes) if row.scopes else None,
    )
