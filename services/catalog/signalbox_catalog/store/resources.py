"""Resources, as they are now."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain.labels import Operator, Requirement
from signalbox_catalog.domain.resources import Key, Place, Resource
from signalbox_catalog.store.rows import resource_of, row_of
from signalbox_catalog.store.tables import labels, namespaces, references, resources
from signalbox_common.db import Transaction
from signalbox_common.paging import PAGE_BYTES

_COLUMNS = [column.name for column in resources.c]
_INSERT = insert(resources).values({name: bindparam(name) for name in _COLUMNS}).inline()
_CHANGED = (
    "display_name",
    "labels",
    "annotations",
    "spec",
    "secrets",
    "status",
    "size",
    "generation",
    "version",
    "updated_at",
    "deleted_at",
)
_UPDATE = (
    update(resources)
    .where(resources.c.uid == bindparam("own_uid"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
_LABEL = insert(labels).values({column.name: bindparam(column.name) for column in labels.c}).inline()
_NAMED = select(resources, namespaces.c.slug).join(
    namespaces, namespaces.c.project_id == resources.c.project_id
)
_LIVING = _NAMED.where(resources.c.deleted_at.is_(None))
_ONE = _LIVING.where(
    resources.c.project_id == bindparam("project_id"),
    resources.c.kind == bindparam("kind"),
    resources.c.name == bindparam("name"),
)


async def get(connection: AsyncConnection, key: Key) -> Resource | None:
    """The living one of that name."""
    row = (
        await connection.execute(_ONE, {"project_id": key.project_id, "kind": key.kind, "name": key.name})
    ).first()
    return resource_of(row, row.slug) if row is not None else None


async def living(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Resource]:
    """Those of them that are there."""
    if not keys:
        return {}
    wanted = text(
        "select * from unnest(cast(:projects as uuid[]), cast(:kinds as text[]), cast(:names as text[]))"
        " as wanted (project_id, kind, name)"
    ).columns(resources.c.project_id, resources.c.kind, resources.c.name)
    ordered = list(keys)
    found = wanted.subquery("wanted")
    rows = await connection.execute(
        _LIVING.join(
            found,
            (found.c.project_id == resources.c.project_id)
            & (found.c.kind == resources.c.kind)
            & (found.c.name == resources.c.name),
        ),
        {
            "projects": [key.project_id for key in ordered],
            "kinds": [key.kind for key in ordered],
            "names": [key.name for key in ordered],
        },
    )
    there = (resource_of(row, row.slug) for row in rows)
    return {resource.key: resource for resource in there}


async def last_deleted(connection: AsyncConnection, key: Key, *, lock: bool = False) -> Resource | None:
    """Held against whoever purges it, if so wished."""
    statement = (
        _NAMED.where(
            resources.c.project_id == key.project_id,
            resources.c.kind == key.kind,
            resources.c.name == key.name,
            resources.c.deleted_at.is_not(None),
        )
        .order_by(resources.c.deleted_at.desc())
        .limit(1)
    )
    if lock:
        statement = statement.with_for_update(of=resources)
    row = (await connection.execute(statement)).first()
    return resource_of(row, row.slug) if row is not None else None


@dataclass(frozen=True)
class Page:
    resources: list[Resource]
    version: int
    """How far the changes of the project had come when this was looked up."""
    cut: bool = False
    """Whether there is more, which would have been too much."""


def page_statement(
    project_id: uuid.UUID,
    kind: str,
    *,
    limit: int,
    after: str | None,
    search: str | None,
    requirements: Sequence[Requirement],
) -> Select[Any]:
    """The living ones by name. A requirement with one value is a range of an index, as is the name."""
    statement = select(resources).where(resources.c.deleted_at.is_(None))
    lead = next(
        (each for each in requirements if len(each.values) == 1 and each.operator is Operator.IN), None
    )
    if lead is None:
        statement = statement.where(resources.c.project_id == project_id, resources.c.kind == kind)
        order = resources.c.name
    else:
        # Of the project and the kind as labels: said of resources too, a planner that knows no numbers yet
        # goes through all of the kind once for each label.
        statement = statement.join(labels, labels.c.uid == resources.c.uid).where(
            labels.c.project_id == project_id,
            labels.c.kind == kind,
            labels.c.key == lead.key,
            labels.c.value == next(iter(lead.values)),
        )
        order = labels.c.name
    for requirement in requirements:
        if requirement is not lead:
            statement = statement.where(_fits(requirement))
    if after is not None:
        statement = statement.where(order > after)
    if search:
        statement = statement.where(order.contains(search, autoescape=True))
    return statement.order_by(order).limit(_plainly(limit))


def _plainly(limit: int) -> ColumnElement[int]:
    """In the text of the statement: a plan for any limit is made for a tenth of the table."""
    return literal_column(str(limit), Integer)


def _fits(requirement: Requirement) -> Any:
    value = resources.c.labels.op("->>")(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value.in_(sorted(requirement.values))
        case Operator.NOT_IN:
            return value.is_(None) | value.not_in(sorted(requirement.values))
        case Operator.EXISTS:
            return value.is_not(None)
        case Operator.ABSENT:
            return value.is_(None)


def _places_of(listed: Subquery) -> tuple[ColumnElement[Any], ...]:
    """Living ones by name, deleted ones the last one first: as the statements above limit them."""
    name = case((listed.c.deleted_at.is_(None), listed.c.name))
    return listed.c.deleted_at.desc(), name, listed.c.uid.desc()


def page_query(place: Place, statement: Select[Any]) -> Select[Any]:
    """What a statement of the above finds, and beside it how far the project had come at that moment."""
    listed = statement.subquery("listed")
    place_in_list = _places_of(listed)
    before = func.sum(listed.c.size).over(order_by=place_in_list) - listed.c.size
    measured = select(listed, before.label("before"), func.count().over().label("listed")).subquery(
        "measured"
    )
    # Only as much as an answer can hold leaves the database.
    found = select(measured).where(measured.c.before <= PAGE_BYTES).subquery("found")
    head = (
        select(func.coalesce(func.max(namespaces.c.version), 0).label("reached"))
        .where(namespaces.c.project_id == place.project_id)
        .subquery("head")
    )
    order = _places_of(found)
    return select(found, head.c.reached).select_from(head).join(found, true(), isouter=True).order_by(*order)


async def page(connection: AsyncConnection, place: Place, statement: Select[Any]) -> Page:
    rows = (await connection.execute(page_query(place, statement))).all()
    resources_found = [resource_of(row, place.namespace) for row in rows if row.uid is not None]
    return Page(resources_found, rows[0].reached, cut=len(resources_found) < (rows[0].listed or 0))


def deleted_statement(
    project_id: uuid.UUID,
    kind: str,
    *,
    limit: int,
    before: tuple[datetime, uuid.UUID] | None,
    search: str | None,
    requirements: Sequence[Requirement],
) -> Select[Any]:
    """The deleted ones, the last one first."""
    statement = select(resources).where(
        resources.c.project_id == project_id, resources.c.kind == kind, resources.c.deleted_at.is_not(None)
    )
    for requirement in requirements:
        statement = statement.where(_fits(requirement))
    if before is not None:
        statement = statement.where(tuple_(resources.c.deleted_at, resources.c.uid) < tuple_(*before))
    if search:
        statement = statement.where(resources.c.name.contains(search, autoescape=True))
    return statement.order_by(resources.c.deleted_at.desc(), resources.c.uid.desc()).limit(_plainly(limit))


async def selected(
    transaction: Transaction, project_ids: Collection[uuid.UUID], requirements: Sequence[Requirement]
) -> list[Resource]:
    """The living ones of all kinds that fit."""
    statement = _LIVING.where(resources.c.project_id.in_(project_ids))
    for requirement in requirements:
        statement = statement.where(_fits(requirement))
    return [resource_of(row, row.slug) for row in await transaction.connection.execute(statement)]


async def add(transaction: Transaction, new: Sequence[Resource]) -> None:
    await transaction.connection.execute(_INSERT, [row_of(resource) for resource in new])
    await _add_labels(transaction, new)


async def change(transaction: Transaction, changed: Sequence[Resource]) -> None:
    """Also to deleted, and back to living."""
    values = []
    for resource in changed:
        row = row_of(resource)
        values.append({"own_uid": resource.uid} | {f"new_{name}": row[name] for name in _CHANGED})
    await transaction.connection.execute(_UPDATE, values)
    await transaction.connection.execute(delete(labels).where(labels.c.uid.in_([r.uid for r in changed])))
    await _add_labels(transaction, [resource for resource in changed if resource.deleted_at is None])


async def _add_labels(transaction: Transaction, living_ones: Sequence[Resource]) -> None:
    rows = [
        {
            "project_id": resource.place.project_id,
            "kind": resource.kind,
            "key": key,
            "value": value,
            "name": resource.name,
            "uid": resource.uid,
        }
        for resource in living_ones
        for key, value in resource.labels.items()
    ]
    if rows:
        await transaction.connection.execute(_LABEL, rows)


# -- what is gone for good -------------------------------------------------------------------------------


async def to_purge(transaction: Transaction, before: datetime, limit: int) -> list[Resource]:
    """Of all projects: what was deleted before that, and nobody else is purging at the moment."""
    rows = await transaction.connection.execute(
        _NAMED.where(resources.c.deleted_at < before)
        .order_by(resources.c.deleted_at)
        .limit(_plainly(limit))
        .with_for_update(of=resources, skip_locked=True)
    )
    return [resource_of(row, row.slug) for row in rows]


async def purge(transaction: Transaction, uids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Answers which are gone: not those whose references from other projects are being changed."""
    free = (
        select(references.c.from_uid, references.c.field)
        .where(references.c.to_uid.in_(uids))
        .with_for_update(skip_locked=True)
    )
    await transaction.connection.execute(
        delete(references).where(tuple_(references.c.from_uid, references.c.field).in_(free))
    )
    held = select(references.c.to_uid).where(references.c.to_uid == resources.c.uid)
    gone = await transaction.connection.execute(
        delete(resources).where(resources.c.uid.in_(uids), ~held.exists()).returning(resources.c.uid)
    )
    return set(gone.scalars())


# -- references --------------------------------------------------------------------------------------------

_REFER = insert(references).values({column.name: bindparam(column.name) for column in references.c}).inline()


async def refer(transaction: Transaction, targets: dict[uuid.UUID, dict[str, uuid.UUID]]) -> None:
    """What each of these refers to from now on, by field."""
    await transaction.connection.execute(delete(references).where(references.c.from_uid.in_(list(targets))))
    rows = [
        {"from_uid": uid, "field": field, "to_uid": to_uid}
        for uid, fields in targets.items()
        for field, to_uid in fields.items()
    ]
    if rows:
        await transaction.connection.execute(_REFER, rows)


async def referred(
    connection: AsyncConnection, uids: Collection[uuid.UUID]
) -> dict[uuid.UUID, dict[str, uuid.UUID]]:
    """What each of these refers to, by field, deleted or not."""
    found: dict[uuid.UUID, dict[str, uuid.UUID]] = {}
    for row in await connection.execute(select(references).where(references.c.from_uid.in_(uids))):
        found.setdefault(row.from_uid, {})[row.field] = row.to_uid
    return found


async def referrers(transaction: Transaction, uids: Collection[uuid.UUID]) -> list[Resource]:
    """Whoever refers to any of these from the same project."""
    target = resources.alias("target")
    beside = (
        select(references.c.from_uid, target.c.project_id)
        .join(target, target.c.uid == references.c.to_uid)
        .where(references.c.to_uid.in_(uids))
    )
    rows = await transaction.connection.execute(
        _LIVING.where(tuple_(resources.c.uid, resources.c.project_id).in_(beside)).order_by(
            resources.c.kind, resources.c.name
        )
    )
    return [resource_of(row, row.slug) for row in rows]
