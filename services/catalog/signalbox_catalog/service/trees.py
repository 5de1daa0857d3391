"""A resource with everything that it refers to."""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from signalbox_catalog.domain.kinds import Reference, by_name
from signalbox_catalog.domain.resources import BROKEN, Key, Resource
from signalbox_catalog.errors import TreeTooLarge
from signalbox_catalog.service.access import Access, AccessResolver, own_place
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


@dataclass(frozen=True)
class _Readable:
    """What the asker may read."""

    projects: frozenset[UUID] = frozenset()
    namespaces: frozenset[str] = frozenset()

    @staticmethod
    def of(opened: Mapping[str, Access]) -> "_Readable":
        return _Readable(frozenset(each.place.project_id for each in opened.values()), frozenset(opened))


@dataclass
class _CachedTree:
    tree: Tree
    written: Mapping[UUID, Mapping[str, Reference]]
    """What each resource says that it refers to, by field."""
    weight: int
    answer: Outcome[contract.ResolvedTree] | None = None
    """The last one, and to whom."""
    readable: _Readable = _Readable()

    @property
    def namespaces(self) -> set[str]:
        found = {resource.place.namespace for resource in self.tree.resources.values()}
        return found | {
            reference.namespace
            for uid, fields in self.written.items()
            for field, reference in fields.items()
            if reference.namespace and field not in self.tree.references[uid]
        }


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
        others = kept.namespaces - {place.namespace}
        readable = _Readable.of(await self._access.resolve(call, others, reading=True))
        if kept.weight > MAX_BYTES:
            raise TreeTooLarge
        if kept.answer is None or kept.readable != readable:
            kept.answer, kept.readable = Outcome.of(_Answering(kept, readable).whole()), readable
        return kept.answer

    async def _tree(self, key: Key) -> _CachedTree | None:
        kept = self._kept.get(key)
        async with self._database.reading() as connection:
            tree = await trees.get(connection, key, kept.tree if kept is not None else None)
        if tree is None:
            self._kept.pop(key, None)
            return None
        if kept is None or tree is not kept.tree:
            written = {uid: _written(resource) for uid, resource in tree.resources.items()}
            kept = _CachedTree(tree, written, _weight(tree, tree.root, {}))
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
        own = tree.sizes[uid] if tree.resources[uid].deleted_at is None else 0
        known[uid] = own + sum(_weight(tree, to_uid, known) for to_uid in below)
    return known[uid]


def _written(resource: Resource) -> Mapping[str, Reference]:
    kind = by_name(resource.kind)
    if kind is None or not kind.refers_to or resource.deleted_at is not None:
        return {}
    # It was checked when it was written, so nothing of it has to be again.
    return {each.field: each for each in kind.spec.model_validate(dict(resource.spec)).references()}


class _Answering:
    """A tree as somebody is shown it who may read some of its projects."""

    def __init__(self, kept: _CachedTree, readable: _Readable) -> None:
        self._tree = kept.tree
        self._written = kept.written
        self._readable = readable

    def whole(self) -> contract.ResolvedTree:
        return contract.ResolvedTree(root=self._shown(self._tree.root), version=self._version())

    def _version(self) -> str:
        """Of what is shown, and of nothing else: what is hidden may change without a sign."""
        shown: dict[UUID, str] = {}
        waiting = [self._tree.root]
        while waiting:
            uid = waiting.pop()
            if uid not in shown:
                broken = self._broken(uid)
                shown[uid] = "!".join([str(self._tree.resources[uid].version), *sorted(broken)])
                below = self._tree.references[uid].items()
                waiting += [to for field, to in below if field not in broken and self._may_read(to)]
        text = ",".join(f"{uid}:{version}" for uid, version in sorted(shown.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _may_read(self, uid: UUID) -> bool:
        return self._tree.resources[uid].place.project_id in self._readable.projects

    def _broken(self, uid: UUID) -> Collection[str]:
        """The fields whose target is gone, as far as the asker would see it if it were there."""
        below = self._tree.references[uid]
        return [
            field
            for field, reference in self._written[uid].items()
            if (
                self._tree.resources[below[field]].deleted_at is not None and self._may_read(below[field])
                if field in below
                else reference.namespace is None or reference.namespace in self._readable.namespaces
            )
        ]

    def _shown(self, uid: UUID) -> contract.ResourceTree:
        resource = self._tree.resources[uid]
        broken = self._broken(uid)
        return contract.ResourceTree(
            api_version=API_VERSION,
            kind=resource.kind,
            metadata=metadata_of(resource),
            spec=spec_of(resource),
            status=dict(resource.status) | ({"state": BROKEN} if broken else {}),
            references={
                field: self._below(uid, reference, is_broken=field in broken)
                for field, reference in sorted(self._written[uid].items())
            },
        )

    def _below(
        self, uid: UUID, reference: Reference, *, is_broken: bool
    ) -> contract.ResourceTree | contract.HiddenReference | contract.BrokenReference:
        """Whoever wrote the reference could read it; who asks now may not, and is told what was written."""
        to = self._tree.references[uid].get(reference.field)
        if not is_broken and to is not None and self._may_read(to):
            return self._shown(to)
        return (contract.BrokenReference if is_broken else contract.HiddenReference)(
            kind=reference.kind,
            namespace=reference.namespace or self._tree.resources[uid].place.namespace,
            name=reference.name,
        )
