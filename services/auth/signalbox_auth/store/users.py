"""Users."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.names import folded
from signalbox_auth.domain.users import User
from signalbox_auth.store import facts
from signalbox_auth.store.tables import known_places, users
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.roles import PlatformRole
from signalbox_common.db import Transaction

_BY_ID = select(users).where(users.c.id == bindparam("user_id"))
UNCONFIRMED_TRIED = 2
"""Accounts that say they are reached at an address and may be signed in to by it: the newest ones."""
_WITH_PLACE = select(users, known_places.c.user_id.label("place")).join(
    known_places,
    (known_places.c.user_id == users.c.id) & (known_places.c.address == bindparam("address")),
    isouter=True,
)
_BY_NAME = _WITH_PLACE.where(users.c.username_folded == bindparam("login"))
_BY_UNCONFIRMED = (
    _WITH_PLACE.where(
        users.c.email_folded == bindparam("login"),
        users.c.email_confirmed.is_(False),
        users.c.deactivated_at.is_(None),
    )
    .order_by(users.c.id.desc())
    .limit(UNCONFIRMED_TRIED)
)
_BY_CONFIRMED = _WITH_PLACE.where(users.c.email_folded == bindparam("login"), users.c.email_confirmed)

# Locked in one order by all: two transactions with the same users wait instead of blocking each other.
_outdated = (
    select(users.c.id)
    .where(users.c.id == any_(bindparam("user_ids", type_=ARRAY(UUID(as_uuid=True)))))
    .order_by(users.c.id)
    .with_for_update()
    .cte("outdated")
)
_OUTDATE = (
    users.update()
    .where(users.c.id == _outdated.c.id)
    .values(version=users.c.version + 1)
    .returning(users.c.id, users.c.version)
)


async def add(transaction: Transaction, user: User, password_hash: str | None) -> bool:
    """False where the name or the address belongs to somebody already."""
    row = await transaction.connection.execute(
        insert(users)
        .values(
            id=user.id,
            username=user.username,
            username_folded=folded(user.username),
            email=user.email,
            email_folded=folded(user.email) if user.email else None,
            display_name=user.display_name,
            role=user.role,
            password_hash=password_hash,
            created_at=user.created_at,
            kind=user.kind,
            home_project=user.home_project,
            email_confirmed=user.email_confirmed,
        )
        .on_conflict_do_nothing()
        .returning(users.c.id)
    )
    return row.first() is not None


async def username_exists(connection: AsyncConnection, username: str) -> bool:
    found = select(users.c.id).where(users.c.username_folded == folded(username))
    return (await connection.execute(found)).first() is not None


async def reached_at(connection: AsyncConnection, email: str) -> User | None:
    """Who is known to be."""
    found = select(users).where(users.c.email_folded == folded(email), users.c.email_confirmed)
    row = (await connection.execute(found)).first()
    return of(row) if row is not None else None


async def said_to_be_reached_at(connection: AsyncConnection, email: str, limit: int) -> list[User]:
    """Everybody active who says so, those first who are known to be."""
    found = (
        select(users)
        .where(users.c.email_folded == folded(email), users.c.deactivated_at.is_(None))
        .order_by(users.c.email_confirmed.desc(), users.c.id.desc())
        .limit(limit)
    )
    return [of(row) for row in await connection.execute(found)]


async def confirm_email(transaction: Transaction, user: User) -> bool:
    """False where another account is known to be reached there."""
    try:
        async with transaction.connection.begin_nested():
            await transaction.connection.execute(
                users.update().where(users.c.id == user.id).values(email_confirmed=True)
            )
    except IntegrityError:
        return False
    return True


@dataclass(frozen=True)
class Login:
    """Somebody who may be signing in."""

    user: User
    password_hash: str | None
    known_place: bool
    """Whether they have signed in from that address before."""


async def by_login(connection: AsyncConnection, login: str, address: str | None) -> list[Login]:
    """By user name; by e-mail address whoever says it is theirs, in the order in which they are tried."""
    values = {"login": folded(login), "address": address}
    queries = (_BY_UNCONFIRMED, _BY_CONFIRMED) if is_address(login) else (_BY_NAME,)
    rows = [row for query in queries for row in await connection.execute(query, values)]
    return [Login(of(row), row.password_hash, row.place is not None) for row in rows]


def is_address(login: str) -> bool:
    """No user name has an @."""
    return "@" in folded(login)


async def password_hash_of(connection: AsyncConnection, user_id: uuid.UUID) -> str | None:
    found = select(users.c.password_hash).where(users.c.id == user_id)
    stored: str | None = (await connection.execute(found)).scalar_one_or_none()
    return stored


async def by_username(connection: AsyncConnection, username: str) -> User | None:
    found = select(users).where(users.c.username_folded == folded(username))
    row = (await connection.execute(found)).first()
    return of(row) if row is not None else None


async def get(connection: AsyncConnection, user_id: uuid.UUID) -> User | None:
    row = (await connection.execute(_BY_ID, {"user_id": user_id})).first()
    return of(row) if row is not None else None


async def lock(transaction: Transaction, user_id: uuid.UUID) -> tuple[User, str | None] | None:
    """The user, held until the end of the transaction, with the hash of the password."""
    row = (
        await transaction.connection.execute(select(users).where(users.c.id == user_id).with_for_update())
    ).first()
    return (of(row), row.password_hash) if row is not None else None


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    before: uuid.UUID | None,
    search: str | None,
    active: bool | None,
) -> list[User]:
    """Newest first; ids are ordered by time."""
    query = select(users).order_by(users.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(users.c.id < before)
    if active is not None:
        query = query.where(
            users.c.deactivated_at.is_(None) if active else users.c.deactivated_at.is_not(None)
        )
    if search:
        query = query.where(
            or_(
                *(
                    column.icontains(search, autoescape=True)
                    for column in (users.c.username, users.c.email, users.c.display_name)
                )
            )
        )
    return [of(row) for row in await connection.execute(query)]


async def set_password_hash(transaction: Transaction, user_id: uuid.UUID, password_hash: str) -> None:
    await transaction.connection.execute(
        users.update().where(users.c.id == user_id).values(password_hash=password_hash)
    )


async def replace_password_hash(
    transaction: Transaction, user_id: uuid.UUID, old: str, password_hash: str
) -> bool:
    """Only where it is still the old one: an upgrade must not undo a change of the password."""
    row = await transaction.connection.execute(
        users.update()
        .where(users.c.id == user_id, users.c.password_hash == old)
        .values(password_hash=password_hash)
        .returning(users.c.id)
    )
    return row.first() is not None


async def change(transaction: Transaction, user: User, **values: Any) -> User:
    """The user as it is then; nothing given, nothing changed."""
    if values.get("email") is not None:
        values["email_folded"] = folded(values["email"])
    if not values:
        return user
    row = (
        await transaction.connection.execute(
            users.update().where(users.c.id == user.id).values(**values).returning(users)
        )
    ).one()
    return of(row)


async def deactivate(transaction: Transaction, user_id: uuid.UUID) -> None:
    await transaction.connection.execute(
        users.update().where(users.c.id == user_id).values(deactivated_at=func.now())
    )


async def outdate_grants(transaction: Transaction, *user_ids: uuid.UUID) -> None:
    """Every grant that was made for these users so far is refused everywhere, within a second."""
    for row in await transaction.connection.execute(_OUTDATE, {"user_ids": list(user_ids)}):
        facts.revoke(transaction, AccessRevoked(user_id=row.id, version=row.version))


async def active_admins(transaction: Transaction) -> list[uuid.UUID]:
    """Locked, so that two admins cannot remove each other at the same time."""
    rows = await transaction.connection.execute(
        select(users.c.id)
        .where(and_(users.c.role == PlatformRole.ADMIN, users.c.deactivated_at.is_(None)))
        .order_by(users.c.id)
        .with_for_update()
    )
    return list(rows.scalars())


def of(row: Row[Any]) -> User:
    return User(
        id=row.id,
        username=row.username,
        email=row.email,
        display_name=row.display_name,
        role=PlatformRole(row.role),
        created_at=row.created_at,
        kind=row.kind,
        version=row.version,
        deactivated_at=row.deactivated_at,
        home_project=row.home_project,
        email_confirmed=row.email_confirmed,
    )


async def hold(transaction: Transaction, user_id: uuid.UUID) -> None:
    """To the end of the transaction: what somebody has is counted by one at a time."""
    held = select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    await transaction.connection.execute(held)
