"""What resources were before, and in which order they changed."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain.resources import ChangeKind, Place, Revision
from signalbox_catalog.store.rows import of_snapshot, size_of, snapshot_of
from signalbox_catalog.store.tables import namespaces, resources, revisions
from signalbox_common.db import Transaction
from signalbox_common.paging import PAGE_BYTES

_INSERT = insert(revisions).values({column.name: bindparam(column.name) for column in revisions.c}).inline()


async def add(transaction: Transaction, new: Sequence[Revision]) -> None:
    await transaction.connection.execute(
        _INSERT,
        [
            {
                "project_id": revision.resource.place.project_id,
                "version": revision.resource.version,
                "uid": revision.resource.uid,
                "kind": revision.resource.kind,
                "change": revision.change,
                "generation": revision.resource.generation,
                "labels_before": dict(revision.labels_before) if revision.labels_before is not None else None,
                "resource": snapshot_of(revision.resource),
                "size": size_of(revision.resource),
                "changed_by": revision.by,
                "changed_at": revision.at,
            }
            for revision in new
        ],
    )


@dataclass(frozen=True)
class ChangesSince:
    found: list[Revision]
    reached: int
    """How far the project had come at that very moment."""
    floor: int
    complete: bool
    """Whether nothing else came after that version."""


async def since(connection: AsyncConnection, place: Place, kind: str, after: int, limit: int) -> ChangesSince:
    """What came after that version, as much as an answer can hold."""
    listed = (
        select(revisions)
        .where(
            revisions.c.project_id == place.project_id, revisions.c.kind == kind, revisions.c.version > after
        )
        .order_by(revisions.c.version)
        .limit(limit)
        .subquery("listed")
    )
    before = func.sum(listed.c.size).over(order_by=listed.c.version) - listed.c.size
    measured = select(listed, before.label("before"), func.count().over().label("listed")).subquery(
        "measured"
    )
    found = select(measured).where(measured.c.before <= PAGE_BYTES).subquery("found")
    head = (
        select(
            func.coalesce(func.max(namespaces.c.version), 0).label("reached"),
            func.coalesce(func.max(namespaces.c.floor), 0).label("floor"),
        )
        .where(namespaces.c.project_id == place.project_id)
        .subquery("head")
    )
    rows = (
        await connection.execute(
            select(found, head.c.reached, head.c.floor)
            .select_from(head)
            .join(found, found.c.version > 0, isouter=True)
            .order_by(found.c.version)
        )
    ).all()
    revisions_found = [_revision(row, place.namespace) for row in rows if row.uid is not None]
    complete = len(revisions_found) == (rows[0].listed or 0) < limit
    return ChangesSince(revisions_found, rows[0].reached, rows[0].floor, complete)


async def generations(
    connection: AsyncConnection, place: Place, uid: uuid.UUID, *, limit: int, below: int | None
) -> list[Revision]:
    """The first revision of each generation, newest first."""
    statement = (
        select(revisions)
        .where(revisions.c.project_id == place.project_id, revisions.c.uid == uid)
        .ext(distinct_on(revisions.c.generation))
        .order_by(revisions.c.generation.desc(), revisions.c.version)
        .limit(limit)
    )
    if below is not None:
        statement = statement.where(revisions.c.generation < below)
    return [_revision(row, place.namespace) for row in await connection.execute(statement)]


async def generation(
    connection: AsyncConnection, place: Place, uid: uuid.UUID, number: int
) -> Revision | None:
    """The last revision of that generation."""
    row = (
        await connection.execute(
            select(revisions)
            .where(
                revisions.c.project_id == place.project_id,
                revisions.c.uid == uid,
                revisions.c.generation == number,
            )
            .order_by(revisions.c.version.desc())
            .limit(1)
        )
    ).first()
    return _revision(row, place.namespace) if row is not None else None


async def forget(transaction: Transaction, before: datetime) -> Mapping[uuid.UUID, int]:
    """Those older than that, but what history needs; answers the highest of each project."""
    last = (
        select(revisions.c.uid, revisions.c.generation, func.max(revisions.c.version).label("version"))
        .join(resources, resources.c.uid == revisions.c.uid)
        .where(revisions.c.generation > resources.c.generation - KEPT_GENERATIONS)
        .group_by(revisions.c.uid, revisions.c.generation)
        .subquery("last")
    )
    kept = select(last.c.version).where(last.c.uid == revisions.c.uid, last.c.version == revisions.c.version)
    rows = await transaction.connection.execute(
        delete(revisions)
        .where(revisions.c.changed_at < before, ~kept.exists())
        .returning(revisions.c.project_id, revisions.c.version)
    )
    highest: dict[uuid.UUID, int] = {}
    for row in rows:
        highest[row.project_id] = max(row.version, highest.get(row.project_id, 0))
    return highest


KEPT_GENERATIONS = 100


def _revision(row: Row[Any], namespace: str) -> Revision:
    return Revision(
        change=ChangeKind(row.change),
        resource=of_snapshot(row.resource, namespace),
        labels_before=row.labels_before,
        by=row.changed_by,
        at=row.changed_at,
    )
