"""A resource with everything that it refers to."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from signalbox_catalog.domain.resources import Key
from signalbox_catalog.errors import TreeTooLarge
from signalbox_catalog.service.access import AccessResolver, own_place
from signalbox_catalog.service.finding import kind_called, not_found
from signalbox_catalog.service.replies import metadata_of, spec_of
from signalbox_catalog.store import trees
from signalbox_catalog.store.trees import Tree
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.db import Database
from signalbox_common.outcomes import Outcome
from signalbox_manifests import API_VERSION

CACHED = 200
MAX_BYTES = 1024 * 1024
"""Of one answer: what is referred to twice stands there twice."""
MAX_KEPT = 128 * 1024
"""Bytes of an answer whose tree is kept; larger ones are read anew."""


@dataclass
class _CachedTree:
    tree: Tree
    weight: int
    answer: Outcome[contract.ResolvedTree] | None = None
    """The last one, and to whoever may read these projects."""
    readable: frozenset[UUID] = frozenset()


class Trees:
    """Keeps trees with the last answer, and asks before each one whether anything within has changed."""

    def __init__(self, database: Database, access: AccessResolver) -> None:
        self._database = database
        self._access = access
        self._kept: OrderedDict[Key, _CachedTree] = OrderedDict()

    async def resolve(self, call: Call, query: contract.ResolveResource) -> Outcome[contract.ResolvedTree]:
        place = own_place(call)
        kind = kind_called(query.plural)
        kept = await self._tree(Key(place.project_id, kind.name, query.name))
        if kept is None:
            raise not_found(kind, query.name, place)
        others = {resource.place.namespace for resource in kept.tree.resources.values()} - {place.namespace}
        opened = await self._access.resolve(call, others, reading=True)
        readable = frozenset(each.place.project_id for each in opened.values())
        if kept.weight > MAX_BYTES:
            raise TreeTooLarge
        if kept.answer is None or kept.readable != readable:
            kept.answer, kept.readable = Outcome.of(_answer(kept.tree, readable)), readable
        return kept.answer

    async def _tree(self, key: Key) -> _CachedTree | None:
        kept = self._kept.get(key)
        async with self._database.reading() as connection:
            tree = await trees.get(connection, key, kept.tree if kept is not None else None)
        if tree is None:
            self._kept.pop(key, None)
            return None
        if kept is None or tree is not kept.tree:
            kept = _CachedTree(tree, _weight(tree, tree.root, {}))
        if kept.weight > MAX_KEPT:
            self._kept.pop(key, None)
            return kept
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > CACHED:
            self._kept.popitem(last=False)
        return kept


def _weight(tree: Tree, uid: UUID, known: dict[UUID, int]) -> int:
    """About how many bytes the answer has below a resource, itself included."""
    if uid not in known:
        below = tree.references[uid].values()
        known[uid] = tree.sizes[uid] + sum(_weight(tree, to_uid, known) for to_uid in below)
    return known[uid]


def _answer(tree: Tree, readable: frozenset[UUID]) -> contract.ResolvedTree:
    root = _resolved(tree, tree.root, readable)
    return contract.ResolvedTree(root=root, version=_version(tree, readable))


def _version(tree: Tree, readable: frozenset[UUID]) -> str:
    """Of what is shown, and of nothing else: what is hidden may change without a sign."""
    shown: dict[UUID, int] = {}
    waiting = [tree.root]
    while waiting:
        uid = waiting.pop()
        resource = tree.resources[uid]
        if uid not in shown and (uid == tree.root or resource.place.project_id in readable):
            shown[uid] = resource.version
            waiting += tree.references[uid].values()
    text = ",".join(f"{uid}:{version}" for uid, version in sorted(shown.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _resolved(tree: Tree, uid: UUID, readable: frozenset[UUID]) -> contract.ResourceTree:
    resource = tree.resources[uid]
    references: Mapping[str, UUID] = tree.references[uid]
    return contract.ResourceTree(
        api_version=API_VERSION,
        kind=resource.kind,
        metadata=metadata_of(resource),
        spec=spec_of(resource),
        status=dict(resource.status),
        references={field: _below(tree, to_uid, readable) for field, to_uid in sorted(references.items())},
    )


def _below(
    tree: Tree, uid: UUID, readable: frozenset[UUID]
) -> contract.ResourceTree | contract.HiddenReference:
    """Whoever wrote the reference could read it; who asks now may not."""
    resource = tree.resources[uid]
    if resource.place.project_id in readable:
        return _resolved(tree, uid, readable)
    return contract.HiddenReference(
        kind=resource.kind, namespace=resource.place.namespace, name=resource.name
    )
