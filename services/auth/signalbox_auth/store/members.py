"""Members of projects."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.projects import Member
from signalbox_auth.store.tables import members, users
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction

_MEMBERS = select(members, users.c.username, users.c.display_name, users.c.kind).join(
    users, users.c.id == members.c.user_id
)
_ADD = (
    insert(members)
    .values({name: bindparam(name) for name in ("project_id", "user_id", "role")})
    .on_conflict_do_nothing()
    .returning(members.c.added_at)
)


async def add(
    transaction: Transaction, project_id: uuid.UUID, user_id: uuid.UUID, role: ProjectRole
) -> datetime | None:
    """Since when; None where that user is a member already."""
    row = await transaction.connection.execute(
        _ADD, {"project_id": project_id, "user_id": user_id, "role": role}
    )
    added_at: datetime | None = row.scalar_one_or_none()
    return added_at


async def get(connection: AsyncConnection, project_id: uuid.UUID, user_id: uuid.UUID) -> Member | None:
    row = (
        await connection.execute(
            _MEMBERS.where(members.c.project_id == project_id, members.c.user_id == user_id)
        )
    ).first()
    return _member(row) if row is not None else None


async def account(connection: AsyncConnection, project_id: uuid.UUID, account_id: uuid.UUID) -> Member | None:
    """A service account in the project that it belongs to."""
    row = (
        await connection.execute(
            _MEMBERS.where(
                members.c.project_id == project_id,
                members.c.user_id == account_id,
                users.c.home_project == project_id,
            )
        )
    ).first()
    return _member(row) if row is not None else None


async def page(
    connection: AsyncConnection, project_id: uuid.UUID, *, limit: int, before: uuid.UUID | None
) -> list[Member]:
    query = _MEMBERS.where(members.c.project_id == project_id).order_by(members.c.user_id.desc()).limit(limit)
    if before is not None:
        query = query.where(members.c.user_id < before)
    return [_member(row) for row in await connection.execute(query)]


async def service_accounts(connection: AsyncConnection, project_id: uuid.UUID) -> list[Member]:
    query = (
        _MEMBERS.where(members.c.project_id == project_id, users.c.home_project == project_id)
        .order_by(members.c.user_id.desc())
        .limit(500)
    )
    return [_member(row) for row in await connection.execute(query)]


async def count_of_accounts(connection: AsyncConnection, project_id: uuid.UUID) -> int:
    """Service accounts of that project."""
    counted: int = (
        await connection.execute(
            select(func.count())
            .select_from(members)
            .join(users, users.c.id == members.c.user_id)
            .where(members.c.project_id == project_id, users.c.home_project == project_id)
        )
    ).scalar_one()
    return counted


async def user_ids(connection: AsyncConnection, project_id: uuid.UUID) -> list[uuid.UUID]:
    rows = await connection.execute(select(members.c.user_id).where(members.c.project_id == project_id))
    return list(rows.scalars())


async def owners(connection: AsyncConnection, project_id: uuid.UUID) -> list[uuid.UUID]:
    """Active ones."""
    rows = await connection.execute(
        select(members.c.user_id)
        .join(users, users.c.id == members.c.user_id)
        .where(
            members.c.project_id == project_id,
            members.c.role == ProjectRole.OWNER,
            users.c.deactivated_at.is_(None),
        )
    )
    return list(rows.scalars())


async def set_role(
    transaction: Transaction, project_id: uuid.UUID, user_id: uuid.UUID, role: ProjectRole
) -> None:
    await transaction.connection.execute(
        members.update()
        .where(members.c.project_id == project_id, members.c.user_id == user_id)
        .values(role=role)
    )


async def remove(transaction: Transaction, project_id: uuid.UUID, user_id: uuid.UUID) -> None:
    await transaction.connection.execute(
        delete(members).where(members.c.project_id == project_id, members.c.user_id == user_id)
    )


def _member(row: Row[Any]) -> Member:
    return Member(
        user_id=row.user_id,
        username=row.username,
        display_name=row.display_name,
        kind=row.kind,
        role=ProjectRole(row.role),
        added_at=row.added_at,
    )
