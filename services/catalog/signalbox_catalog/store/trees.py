"""A resource and all that it refers to, in one statement."""

import uuid
from dataclasses import dataclass

from sqlalchemy import BigInteger, Text, column, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain.resources import Key, Resource
from signalbox_catalog.store.rows import resource_of
from signalbox_catalog.store.tables import resources as table


@dataclass(frozen=True)
class Tree:
    root: uuid.UUID
    resources: dict[uuid.UUID, Resource]
    references: dict[uuid.UUID, dict[str, uuid.UUID]]
    """What each of them refers to, by field."""
    sizes: dict[uuid.UUID, int]


_TREE = text(
    """
    with recursive reached (uid) as (
        select uid from catalog.resources
        where project_id = :project_id and kind = :kind and name = :name and deleted_at is null
        union
        select refs.to_uid from reached join catalog.refs on refs.from_uid = reached.uid
    ),
    unknown as (
        select resources.*, namespaces.slug, row_number() over () as number,
               (select jsonb_object_agg(refs.field, refs.to_uid) from catalog.refs
                where refs.from_uid = resources.uid) as referred
        from reached
        join catalog.resources using (uid)
        join catalog.namespaces using (project_id)
        left join unnest(cast(:uids as uuid[]), cast(:versions as bigint[])) as known (uid, version)
               on known.uid = resources.uid and known.version = resources.version
        where known.uid is null
    )
    select case when coalesce(number, 1) = 1 then array(select uid from reached) end as reached, unknown.*
    from (select) as always left join unknown on true
    """
).columns(
    column("reached", ARRAY(UUID)),
    *table.c,
    column("slug", Text),
    column("number", BigInteger),
    column("referred", JSONB),
)


async def get(connection: AsyncConnection, key: Key, known: Tree | None = None) -> Tree | None:
    """The very one that is known, if it is still so; and of one that is not, only what has changed is read.

    Whatever refers otherwise now has another version.
    """
    resources = dict(known.resources) if known is not None else {}
    found = await connection.execute(
        _TREE,
        {
            "project_id": key.project_id,
            "kind": key.kind,
            "name": key.name,
            "uids": list(resources),
            "versions": [resource.version for resource in resources.values()],
        },
    )
    references = dict(known.references) if known is not None else {}
    sizes = dict(known.sizes) if known is not None else {}
    reached: set[uuid.UUID] = set()
    changed = False
    for row in found:
        reached.update(row.reached or ())
        if row.uid is not None:
            changed = True
            resources[row.uid] = resource_of(row, row.slug)
            references[row.uid] = {field: uuid.UUID(uid) for field, uid in (row.referred or {}).items()}
            sizes[row.uid] = row.size
    if known is not None and not changed and reached == known.resources.keys():
        return known
    if known is not None and any(to not in reached for uid in reached for to in references[uid].values()):
        return await get(connection, key)  # one let go of another that is purged: nobody has changed it
    root = next((uid for uid in reached if resources[uid].key == key), None)
    if root is None:
        return None
    return Tree(
        root,
        {uid: resources[uid] for uid in reached},
        {uid: references[uid] for uid in reached},
        {uid: sizes[uid] for uid in reached},
    )
