"""A resource with everything that it refers to."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from uuid import UUID

from signalbox_catalog.domain.errors import TreeTooLarge
from signalbox_catalog.domain.kinds import API_VERSION
from signalbox_catalog.domain.resources import Key
from signalbox_catalog.service.finding import kind_called, not_found
from signalbox_catalog.service.neighbours import Neighbours, own_place
from signalbox_catalog.service.replies import metadata_of
from signalbox_catalog.store import trees
from signalbox_catalog.store.rows import size_of
from signalbox_catalog.store.trees import Tree
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.db import Database
from signalbox_common.inbox import Outcome

CACHED = 200
MAX_BYTES = 1024 * 1024
"""Of one answer: what is referred to twice stands there twice."""
MAX_KEPT = 128 * 1024
"""Bytes of a tree that is kept; larger ones are read anew."""


class Trees:
    """Keeps trees, and asks before each answer whether anything within has changed."""

    def __init__(self, database: Database, neighbours: Neighbours) -> None:
        self._database = database
        self._neighbours = neighbours
        self._kept: OrderedDict[Key, Tree] = OrderedDict()

    async def resolve(self, call: Call, query: contract.ResolveResource) -> Outcome[contract.ResolvedTree]:
        place = own_place(call)
        kind = kind_called(query.plural)
        tree = await self._tree(Key(place.project_id, kind.name, query.name))
        if tree is None:
            raise not_found(kind, query.name, place)
        others = {resource.place.namespace for resource in tree.resources.values()} - {place.namespace}
        opened = await self._neighbours.open_to(call, others)
        readable = {neighbour.place.project_id for neighbour in opened.values()}
        if _weight(tree, tree.root, {}) > MAX_BYTES:
            raise TreeTooLarge
        root = _resolved(tree, tree.root, readable)
        # Of what is shown, and of nothing else: what is hidden may change without a sign.
        version = hashlib.sha256(root.encode()).hexdigest()[:32]
        resolved = contract.ResolvedTree(root=root, version=version)
        return Outcome.of(resolved)

    async def _tree(self, key: Key) -> Tree | None:
        async with self._database.reading() as connection:
            kept = self._kept.get(key)
            if kept is not None and await trees.is_current(connection, key, kept):
                self._kept.move_to_end(key)
                return kept
            tree = await trees.get(connection, key)
        if tree is None:
            self._kept.pop(key, None)
            return None
        if sum(map(size_of, tree.resources.values())) > MAX_KEPT:
            self._kept.pop(key, None)
            return tree
        self._kept[key] = tree
        while len(self._kept) > CACHED:
            self._kept.popitem(last=False)
        return tree


def _weight(tree: Tree, uid: UUID, known: dict[UUID, int]) -> int:
    """About how many bytes the answer has below a resource, itself included."""
    if uid not in known:
        below = tree.references[uid].values()
        known[uid] = size_of(tree.resources[uid]) + sum(_weight(tree, to_uid, known) for to_uid in below)
    return known[uid]


def _resolved(tree: Tree, uid: UUID, readable: set[UUID]) -> contract.Resolved:
    resource = tree.resources[uid]
    references: Mapping[str, UUID] = tree.references[uid]
    return contract.Resolved(
        api_version=API_VERSION,
        kind=resource.kind,
        metadata=metadata_of(resource),
        spec=dict(resource.spec),
        status=dict(resource.status),
        references={field: _below(tree, to_uid, readable) for field, to_uid in sorted(references.items())},
    )


def _below(tree: Tree, uid: UUID, readable: set[UUID]) -> contract.Resolved | contract.Unreadable:
    """Whoever wrote the reference could read it; who asks now may not."""
    resource = tree.resources[uid]
    if resource.place.project_id in readable:
        return _resolved(tree, uid, readable)
    return contract.Unreadable(kind=resource.kind, namespace=resource.place.namespace, name=resource.name)
