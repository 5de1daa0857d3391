"""Projects, always as one of their members sees them."""

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.projects import Project
from signalbox_auth.store.tables import members, projects, users
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction

_VISIBLE = select(projects, members.c.role).join(
    members, (members.c.project_id == projects.c.id) & (members.c.user_id == bindparam("user_id"))
)
_VISIBLE_PROJECT = _VISIBLE.where(projects.c.id == bindparam("project_id"), projects.c.deleted_at.is_(None))
_ADDED = ("id", "name", "slug", "description", "created_by", "created_at", "updated_at", "personal_of")
_added = (
    insert(projects)
    .values({name: bindparam(name) for name in _ADDED})
    .on_conflict_do_nothing()
    .returning(projects.c.id, projects.c.created_by)
    .cte("added")
)
_ADD = (
    insert(members)
    .add_cte(_added)
    .from_select(
        ["project_id", "user_id", "role"],
        select(_added.c.id, _added.c.created_by, literal(ProjectRole.OWNER.value)),
    )
    .returning(members.c.project_id)
)
_HOLD = select(projects.c.id).where(projects.c.id == bindparam("project_id")).with_for_update()
_THERE = select(projects.c.id).where(
    projects.c.id == bindparam("project_id"), projects.c.deleted_at.is_(None)
)
_HELD = _VISIBLE.where(
    projects.c.id == bindparam("project_id"), projects.c.deleted_at.is_not(None) == bindparam("deleted")
)


async def add(transaction: Transaction, project: Project, created_by: uuid.UUID) -> bool:
    """Inserts the project with its owner, and so locks it; False where its slug is taken."""
    row = await transaction.connection.execute(
        _ADD,
        {
            "id": project.id,
            "name": project.name,
            "slug": project.slug,
            "description": project.description,
            "created_by": created_by,
            "created_at": project.created_at,
            "updated_at": project.updated_at,
            "personal_of": project.personal_of,
        },
    )
    return row.first() is not None


async def get(connection: AsyncConnection, project_id: uuid.UUID, user_id: uuid.UUID) -> Project | None:
    row = (await connection.execute(_VISIBLE_PROJECT, {"user_id": user_id, "project_id": project_id})).first()
    return _project(row) if row is not None else None


async def lock(
    transaction: Transaction, project_id: uuid.UUID, user_id: uuid.UUID, *, deleted: bool = False
) -> Project | None:
    """The project, held until the end of the transaction, with the user's role of then.

    Two statements: one that waits for a lock looks at other tables as they were before it.
    """
    await transaction.connection.execute(_HOLD, {"project_id": project_id})
    which = {"project_id": project_id, "user_id": user_id, "deleted": deleted}
    row = (await transaction.connection.execute(_HELD, which)).first()
    return _project(row) if row is not None else None


async def is_there(connection: AsyncConnection, project_id: uuid.UUID) -> bool:
    """Whoever asks, and whether they are members of it or not."""
    return (await connection.execute(_THERE, {"project_id": project_id})).first() is not None


async def hold(transaction: Transaction, project_id: uuid.UUID) -> bool:
    """The same, to the end of the transaction."""
    await transaction.connection.execute(_HOLD, {"project_id": project_id})
    return await is_there(transaction.connection, project_id)


async def change(transaction: Transaction, project: Project, **values: Any) -> Project:
    row = (
        await transaction.connection.execute(
            projects.update()
            .where(projects.c.id == project.id)
            .values(**values, updated_at=func.clock_timestamp())
            .returning(projects)
        )
    ).one()
    return _project(row, project.role)


async def page(
    connection: AsyncConnection,
    user_id: uuid.UUID,
    *,
    limit: int,
    before: uuid.UUID | None,
    search: str | None,
    deleted: bool,
) -> list[Project]:
    """Newest first; ids are ordered by time."""
    query = _VISIBLE.order_by(projects.c.id.desc()).limit(limit)
    if deleted:
        query = query.where(projects.c.deleted_at.is_not(None), members.c.role == ProjectRole.OWNER)
    else:
        query = query.where(projects.c.deleted_at.is_(None))
    if before is not None:
        query = query.where(projects.c.id < before)
    if search:
        query = query.where(
            or_(
                projects.c.name.icontains(search, autoescape=True),
                projects.c.slug.icontains(search, autoescape=True),
            )
        )
    return [_project(row) for row in await connection.execute(query, {"user_id": user_id})]


async def has_own(connection: AsyncConnection, user_id: uuid.UUID) -> bool:
    found = select(projects.c.id).where(projects.c.personal_of == user_id)
    return (await connection.execute(found)).first() is not None


async def of_first_administrator(connection: AsyncConnection) -> uuid.UUID | None:
    """The personal one."""
    found = (
        select(projects.c.id)
        .join(users, users.c.id == projects.c.personal_of)
        .where(users.c.role == "admin", users.c.deactivated_at.is_(None))
        .order_by(users.c.created_at, users.c.id)
        .limit(1)
    )
    project: uuid.UUID | None = (await connection.execute(found)).scalar()
    return project


async def people_without_own(connection: AsyncConnection, limit: int) -> list[uuid.UUID]:
    """People who have no personal project yet, from before there were any."""
    owned = select(projects.c.personal_of).where(projects.c.personal_of.is_not(None))
    rows = await connection.execute(
        select(users.c.id)
        .where(users.c.kind == "person", users.c.id.not_in(owned))
        .order_by(users.c.id)
        .limit(limit)
    )
    return list(rows.scalars())


def _project(row: Row[Any], role: ProjectRole | None = None) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        slug=row.slug,
        description=row.description,
        role=role or ProjectRole(row.role),
        created_at=row.created_at,
        updated_at=row.updated_at,
        personal_of=row.personal_of,
    )


async def count_created(connection: AsyncConnection, user_id: uuid.UUID) -> int:
    """Those that somebody has made; deleted ones count for a day, so that nobody goes on and on."""
    counted: int = (
        await connection.execute(
            select(func.count()).where(
                projects.c.created_by == user_id,
                or_(projects.c.deleted_at.is_(None), projects.c.deleted_at > func.now() - timedelta(days=1)),
            )
        )
    ).scalar_one()
    return counted
