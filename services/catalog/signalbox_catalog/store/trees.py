"""A resource and all that it refers to, in one statement."""

import uuid
from dataclasses import dataclass

from sqlalchemy import Text, column, text
from sqlalchemy.dialects.postgresql import JSONB
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


_TREE = text(
    """
    with recursive reached (uid) as (
        select uid from catalog.resources
        where project_id = :project_id and kind = :kind and name = :name and deleted_at is null
        union
        select refs.to_uid from reached join catalog.refs on refs.from_uid = reached.uid
    )
    select resources.*, namespaces.slug,
           (select jsonb_object_agg(refs.field, refs.to_uid) from catalog.refs
            where refs.from_uid = resources.uid) as referred
    from reached
    join catalog.resources using (uid)
    join catalog.namespaces using (project_id)
    """
).columns(*table.c, column("slug", Text), column("referred", JSONB))
_VERSIONS = text(
    """
    select uid, version from catalog.resources
    where uid = any(:uids) and deleted_at is null
      and exists (select 1 from catalog.resources
                  where project_id = :project_id and kind = :kind and name = :name and deleted_at is null
                    and uid = :root)
    """
).columns(table.c.uid, table.c.version)


async def get(connection: AsyncConnection, key: Key) -> Tree | None:
    rows = (
        await connection.execute(_TREE, {"project_id": key.project_id, "kind": key.kind, "name": key.name})
    ).all()
    resources = {row.uid: resource_of(row, row.slug) for row in rows}
    root = next((resource for resource in resources.values() if resource.key == key), None)
    if root is None:
        return None
    references = {
        row.uid: {field: uuid.UUID(uid) for field, uid in (row.referred or {}).items()} for row in rows
    }
    return Tree(root.uid, resources, references)


async def is_current(connection: AsyncConnection, key: Key, tree: Tree) -> bool:
    """Whether nothing in the tree has changed: whatever refers otherwise now has another version."""
    rows = await connection.execute(
        _VERSIONS,
        {
            "uids": list(tree.resources),
            "project_id": key.project_id,
            "kind": key.kind,
            "name": key.name,
            "root": tree.root,
        },
    )
    return {row.uid: row.version for row in rows} == {
        resource.uid: resource.version for resource in tree.resources.values()
    }
