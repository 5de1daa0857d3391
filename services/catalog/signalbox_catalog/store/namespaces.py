"""Projects as this service knows them: their name, and how far their changes have come."""

import uuid
from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain.resources import Place
from signalbox_catalog.store.tables import namespaces
from signalbox_common.db import Transaction

_KNOW = (
    insert(namespaces)
    .values(project_id=bindparam("project_id"), slug=bindparam("slug"), version=0, floor=0, gone=False)
    .on_conflict_do_nothing()
)
_LOCK = select(namespaces.c.version).where(namespaces.c.project_id == bindparam("project_id"))
_ADVANCE = (
    namespaces.update()
    .where(namespaces.c.project_id == bindparam("project"))
    .values(version=bindparam("reached"))
)


async def lock(
    transaction: Transaction, written: Collection[Place], referred: Collection[Place]
) -> dict[uuid.UUID, int]:
    """Nobody else changes the written ones until the end of this transaction, nor deletes in the others.

    In one order for all, so that two transactions wait for each other only in one direction. Answers how
    far the written ones have come.
    """
    whole = {place.project_id for place in written}
    versions: dict[uuid.UUID, int] = {}
    for place in sorted({*written, *referred}, key=lambda place: place.project_id):
        statement = _LOCK.with_for_update(read=place.project_id not in whole)
        found = await transaction.connection.execute(statement, {"project_id": place.project_id})
        version = found.scalar_one_or_none()
        if version is None:
            new = {"project_id": place.project_id, "slug": place.namespace}
            await transaction.connection.execute(_KNOW, new)
            found = await transaction.connection.execute(statement, {"project_id": place.project_id})
            version = found.scalar_one()
        if place.project_id in whole:
            versions[place.project_id] = version
    return versions


async def advance(transaction: Transaction, versions: Mapping[uuid.UUID, int]) -> None:
    await transaction.connection.execute(
        _ADVANCE, [{"project": project, "reached": version} for project, version in versions.items()]
    )


async def reached(connection: AsyncConnection, project_id: uuid.UUID) -> tuple[int, int]:
    """How far the changes of a project have come, and from where on they are kept."""
    row = (
        await connection.execute(
            select(namespaces.c.version, namespaces.c.floor).where(namespaces.c.project_id == project_id)
        )
    ).first()
    return (row.version, row.floor) if row is not None else (0, 0)


async def set_gone(transaction: Transaction, place: Place, *, gone: bool) -> None:
    """Whether the project is deleted."""
    await transaction.connection.execute(_KNOW, {"project_id": place.project_id, "slug": place.namespace})
    await transaction.connection.execute(
        namespaces.update().where(namespaces.c.project_id == place.project_id).values(gone=gone)
    )


async def raise_floor(transaction: Transaction, project_id: uuid.UUID, floor: int) -> None:
    await transaction.connection.execute(
        namespaces.update()
        .where(namespaces.c.project_id == project_id)
        .values(floor=func.greatest(namespaces.c.floor, floor))
    )
