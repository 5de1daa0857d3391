"""Invitations."""

import uuid
from typing import Any

from sqlalchemy import Row, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.invitations import Invitation
from signalbox_auth.store.tables import invitations
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction

_KEPT_DAYS = 90
"""After their end."""


async def add(transaction: Transaction, invitation: Invitation) -> None:
    await transaction.connection.execute(
        insert(invitations).values(
            id=invitation.id,
            email=invitation.email,
            project_id=invitation.project_id,
            role=invitation.role,
            invited_by=invitation.invited_by,
            created_at=invitation.created_at,
            expires_at=invitation.expires_at,
        )
    )


async def get(connection: AsyncConnection, invitation_id: uuid.UUID) -> Invitation | None:
    row = (await connection.execute(select(invitations).where(invitations.c.id == invitation_id))).first()
    return _invitation(row) if row is not None else None


async def lock(transaction: Transaction, invitation_id: uuid.UUID) -> Invitation | None:
    row = (
        await transaction.connection.execute(
            select(invitations).where(invitations.c.id == invitation_id).with_for_update()
        )
    ).first()
    return _invitation(row) if row is not None else None


async def set_used(transaction: Transaction, invitation_id: uuid.UUID, user_id: uuid.UUID) -> None:
    await transaction.connection.execute(
        invitations.update().where(invitations.c.id == invitation_id).values(used_by=user_id)
    )


async def revoke(transaction: Transaction, invitation_id: uuid.UUID, project_id: uuid.UUID | None) -> bool:
    """One that is open; with a project, only of that."""
    query = invitations.update().where(
        invitations.c.id == invitation_id,
        invitations.c.used_by.is_(None),
        invitations.c.revoked_at.is_(None),
        invitations.c.expires_at > func.now(),
    )
    if project_id is not None:
        query = query.where(invitations.c.project_id == project_id)
    row = await transaction.connection.execute(
        query.values(revoked_at=func.now()).returning(invitations.c.id)
    )
    return row.first() is not None


async def open_in(connection: AsyncConnection, project_id: uuid.UUID) -> int:
    counted: int = (
        await connection.execute(
            select(func.count()).where(
                invitations.c.project_id == project_id,
                invitations.c.used_by.is_(None),
                invitations.c.revoked_at.is_(None),
                invitations.c.expires_at > func.now(),
            )
        )
    ).scalar_one()
    return counted


async def page(
    connection: AsyncConnection, *, project_id: uuid.UUID | None, limit: int, before: uuid.UUID | None
) -> list[Invitation]:
    """Newest first; of one project, or of all and of none."""
    query = select(invitations).order_by(invitations.c.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(invitations.c.project_id == project_id)
    if before is not None:
        query = query.where(invitations.c.id < before)
    return [_invitation(row) for row in await connection.execute(query)]


async def tidy(transaction: Transaction) -> None:
    old = func.now() - func.make_interval(0, 0, 0, _KEPT_DAYS)
    await transaction.connection.execute(delete(invitations).where(invitations.c.expires_at < old))


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        id=row.id,
        email=row.email,
        project_id=row.project_id,
        role=ProjectRole(row.role) if row.role is not None else None,
        invited_by=row.invited_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_by=row.used_by,
        revoked_at=row.revoked_at,
    )
