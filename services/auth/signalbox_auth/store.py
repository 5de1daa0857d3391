"""All SQL of the auth service."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    bindparam,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain import Project, User, folded
from signalbox_common import outbox
from signalbox_common.contracts.auth import PlatformRole, ProjectRole
from signalbox_common.contracts.base import Event
from signalbox_common.db import Transaction

SCHEMA = "auth"
_metadata = MetaData(schema=SCHEMA)

_users = Table(
    "users",
    _metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("username", Text),
    Column("username_folded", Text),
    Column("email", Text),
    Column("email_folded", Text),
    Column("display_name", Text),
    Column("role", Text),
    Column("password_hash", Text),
    Column("created_at", DateTime(timezone=True)),
)
_projects = Table(
    "projects",
    _metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text),
    Column("slug", Text),
    Column("description", Text),
    Column("created_by", UUID(as_uuid=True)),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
)
_members = Table(
    "members",
    _metadata,
    Column("project_id", UUID(as_uuid=True), primary_key=True),
    Column("user_id", UUID(as_uuid=True), primary_key=True),
    Column("role", Text),
)
_keys = Table(
    "signing_keys",
    _metadata,
    Column("kid", Text, primary_key=True),
    Column("sealed", LargeBinary),
    Column("created_at", DateTime(timezone=True)),
)


# Built once: putting a statement together takes longer than sending it.
_USER_BY_ID = select(_users).where(_users.c.id == bindparam("user_id"))
_VISIBLE = select(_projects, _members.c.role).join(
    _members, (_members.c.project_id == _projects.c.id) & (_members.c.user_id == bindparam("user_id"))
)
_VISIBLE_PROJECT = _VISIBLE.where(_projects.c.id == bindparam("project_id"))
_ADD_PROJECT = (
    insert(_projects)
    .values({column.name: bindparam(column.name) for column in _projects.c})
    .on_conflict_do_nothing(index_elements=["slug"])
    .returning(_projects.c.id)
)
_ADD_MEMBER = insert(_members).values({column.name: bindparam(column.name) for column in _members.c})


@dataclass(frozen=True)
class SealedKey:
    kid: str
    sealed: bytes


class Store:
    """Reads take a connection, writes the transaction that they are part of."""

    async def record(self, transaction: Transaction, event: Event, *, project: uuid.UUID | None) -> None:
        await outbox.emit(transaction, SCHEMA, event, project=project)

    # -- users -------------------------------------------------------------------------------------

    async def add_user(self, transaction: Transaction, user: User, password_hash: str) -> User | None:
        """None where the name or the address belongs to somebody already."""
        row = (
            await transaction.connection.execute(
                insert(_users)
                .values(
                    id=user.id,
                    username=user.username,
                    username_folded=folded(user.username),
                    email=user.email,
                    email_folded=folded(user.email),
                    display_name=user.display_name,
                    role=user.role,
                    password_hash=password_hash,
                    created_at=user.created_at,
                )
                .on_conflict_do_nothing()
                .returning(_users)
            )
        ).first()
        return _user(row) if row is not None else None

    async def username_exists(self, connection: AsyncConnection, username: str) -> bool:
        found = select(_users.c.id).where(_users.c.username_folded == folded(username))
        return (await connection.execute(found)).first() is not None

    async def user_with_hash(self, connection: AsyncConnection, login: str) -> tuple[User, str] | None:
        """By user name or e-mail address."""
        name = folded(login)
        row = (
            await connection.execute(
                select(_users).where(or_(_users.c.username_folded == name, _users.c.email_folded == name))
            )
        ).first()
        return (_user(row), row.password_hash) if row is not None else None

    async def user(self, connection: AsyncConnection, user_id: uuid.UUID) -> User | None:
        row = (await connection.execute(_USER_BY_ID, {"user_id": user_id})).first()
        return _user(row) if row is not None else None

    async def set_password_hash(
        self, transaction: Transaction, user_id: uuid.UUID, password_hash: str
    ) -> None:
        await transaction.connection.execute(
            _users.update().where(_users.c.id == user_id).values(password_hash=password_hash)
        )

    # -- projects ----------------------------------------------------------------------------------

    async def add_project(self, transaction: Transaction, project: Project, created_by: uuid.UUID) -> bool:
        """Inserts the project and so locks it; False where its slug is taken."""
        row = (
            await transaction.connection.execute(
                _ADD_PROJECT,
                {
                    "id": project.id,
                    "name": project.name,
                    "slug": project.slug,
                    "description": project.description,
                    "created_by": created_by,
                    "created_at": project.created_at,
                    "updated_at": project.updated_at,
                },
            )
        ).first()
        return row is not None

    async def add_member(
        self, transaction: Transaction, project_id: uuid.UUID, user_id: uuid.UUID, role: ProjectRole
    ) -> None:
        await transaction.connection.execute(
            _ADD_MEMBER, {"project_id": project_id, "user_id": user_id, "role": role}
        )

    async def role_in(
        self, connection: AsyncConnection, project_id: uuid.UUID, user_id: uuid.UUID
    ) -> ProjectRole | None:
        role = (
            await connection.execute(
                select(_members.c.role).where(
                    _members.c.project_id == project_id, _members.c.user_id == user_id
                )
            )
        ).scalar_one_or_none()
        return ProjectRole(role) if role is not None else None

    async def project(
        self, connection: AsyncConnection, project_id: uuid.UUID, user_id: uuid.UUID
    ) -> Project | None:
        row = (
            await connection.execute(_VISIBLE_PROJECT, {"user_id": user_id, "project_id": project_id})
        ).first()
        return _project(row) if row is not None else None

    async def projects_of(
        self,
        connection: AsyncConnection,
        user_id: uuid.UUID,
        *,
        limit: int,
        before: uuid.UUID | None,
        search: str | None,
    ) -> list[Project]:
        """Newest first; ids are ordered by time."""
        query = _visible_to(user_id).order_by(_projects.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_projects.c.id < before)
        if search:
            query = query.where(
                or_(
                    _projects.c.name.icontains(search, autoescape=True),
                    _projects.c.slug.icontains(search, autoescape=True),
                )
            )
        return [_project(row) for row in await connection.execute(query)]

    # -- signing keys ------------------------------------------------------------------------------

    async def lock_keys(self, transaction: Transaction) -> None:
        await transaction.connection.execute(
            text("select pg_advisory_xact_lock(hashtext('signalbox auth signing keys'))")
        )

    async def keys(self, connection: AsyncConnection) -> list[SealedKey]:
        """Newest last."""
        rows = await connection.execute(select(_keys).order_by(_keys.c.created_at, _keys.c.kid))
        return [SealedKey(row.kid, bytes(row.sealed)) for row in rows]

    async def add_key(self, transaction: Transaction, key: SealedKey) -> None:
        await transaction.connection.execute(
            insert(_keys).values(kid=key.kid, sealed=key.sealed, created_at=func.now())
        )


def _visible_to(user_id: uuid.UUID) -> Any:
    return select(_projects, _members.c.role).join(
        _members, (_members.c.project_id == _projects.c.id) & (_members.c.user_id == user_id)
    )


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        username=row.username,
        email=row.email,
        display_name=row.display_name,
        role=PlatformRole(row.role),
        created_at=row.created_at,
    )


def _project(row: Row[Any]) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        slug=row.slug,
        description=row.description,
        role=ProjectRole(row.role),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
