"""What a grant is made of: who holds this token, and as what in this project; one statement each."""

import uuid
from collections.abc import Collection
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
    true,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import LateralFromClause

from signalbox_auth.domain.users import User
from signalbox_auth.store import users as user_rows
from signalbox_auth.store.tables import api_tokens, delegations, members, projects, sessions, users
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction


@dataclass(frozen=True)
class Place:
    """A project that somebody is a member of."""

    project_id: uuid.UUID
    slug: str
    role: ProjectRole
    home: bool
    """Whether it is what `default` stands for: one's personal project, or a service account's own."""


HOME = "default"


@dataclass(frozen=True)
class Holder:
    """An active user, what speaks for them, and their role in the project that was asked for."""

    user: User
    place: Place | None
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


_HOME = or_(projects.c.personal_of == users.c.id, projects.c.id == users.c.home_project)


def _seat(which: ColumnElement[bool]) -> LateralFromClause:
    """The user's place in that project, if it is there and they are a member."""
    return (
        select(members.c.role, projects.c.id.label("project_id"), projects.c.slug, _HOME.label("home"))
        .join(projects, projects.c.id == members.c.project_id)
        .where(members.c.user_id == users.c.id, projects.c.deleted_at.is_(None), which)
        .lateral("seat")
    )


def _holding(proof: FromClause, good: ColumnElement[bool], *columns: Any) -> dict[str, Select[Any]]:
    """Active users with a good proof, and with their place in a project; by what that is looked for."""
    ways = {
        "id": projects.c.id == bindparam("project"),
        "slug": projects.c.slug == bindparam("project"),
        "home": _HOME,
    }
    statements = {}
    for way, which in ways.items():
        seat = _seat(which)
        statements[way] = (
            select(
                users,
                seat.c.role.label("place_role"),
                seat.c.project_id.label("place_id"),
                seat.c.slug.label("place_slug"),
                seat.c.home.label("place_home"),
                *columns,
            )
            .join(proof, proof.c.user_id == users.c.id)
            .join(seat, true(), isouter=True)
            .where(users.c.deactivated_at.is_(None), good)
        )
    return statements


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
    & (delegations.c.project_id == bindparam("project"))
    & delegations.c.revoked_at.is_(None)
    & (delegations.c.expires_at > func.now()),
    null().label("session_id"),
    delegations.c.token_id,
    null().label("token_used_at"),
    delegations.c.scopes,
    delegations.c.expires_at,
)["id"]


def _asked(ways: dict[str, Select[Any]], project: uuid.UUID | str | None) -> tuple[Select[Any], Any]:
    """Ids and names are looked for in their own columns; nothing is found for None."""
    if project == HOME:
        return ways["home"], None
    return ways["slug" if isinstance(project, str) else "id"], project


async def by_session(
    connection: AsyncConnection, session_id: uuid.UUID, user_id: uuid.UUID, project: uuid.UUID | str | None
) -> Holder | None:
    """None where the session has ended, or its user is not active."""
    statement, project = _asked(_BY_SESSION, project)
    row = (await connection.execute(statement, {"session_id": session_id, "project": project})).first()
    holder = _holder(row) if row is not None else None
    return holder if holder is not None and holder.user.id == user_id else None


async def by_token(
    connection: AsyncConnection, hashed: bytes, project: uuid.UUID | str | None
) -> Holder | None:
    statement, project = _asked(_BY_TOKEN, project)
    row = (await connection.execute(statement, {"hash": hashed, "project": project})).first()
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
    row = (await connection.execute(_BY_DELEGATION, {"hash": hashed, "project": found.project_id})).first()
    return (_holder(row), _delegation(found)) if row is not None else None


async def places(connection: AsyncConnection, user_id: uuid.UUID, slugs: Collection[str]) -> list[Place]:
    """Those of these projects that an active user is a member of; their home, if `default` is asked for."""
    which = projects.c.slug.in_(slugs)
    seat = _seat(or_(which, _HOME) if HOME in slugs else which)
    rows = await connection.execute(
        select(seat)
        .join_from(users, seat, true())
        .where(users.c.id == user_id, users.c.deactivated_at.is_(None))
    )
    return [Place(row.project_id, row.slug, ProjectRole(row.role), row.home) for row in rows]


async def add_delegation(transaction: Transaction, delegation: Delegation, hashed: bytes) -> bool:
    """False where there is one for that secret."""
    added = await transaction.connection.execute(
        insert(delegations)
        .values(
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
        .on_conflict_do_nothing(index_elements=["hash"])
        .returning(delegations.c.id)
    )
    return added.first() is not None


async def renew_delegation(transaction: Transaction, delegation: uuid.UUID, expires_at: datetime) -> bool:
    """False where it has ended meanwhile."""
    row = await transaction.connection.execute(
        delegations.update()
        .where(
            delegations.c.id == delegation,
            delegations.c.revoked_at.is_(None),
            delegations.c.expires_at > func.now(),
        )
        .values(expires_at=expires_at)
        .returning(delegations.c.id)
    )
    return row.first() is not None


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
        place=(
            Place(row.place_id, row.place_slug, ProjectRole(row.place_role), bool(row.place_home))
            if row.place_id is not None
            else None
        ),
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
