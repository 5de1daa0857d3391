"""How resources change: everything here happens within a transaction of whoever calls it."""

import copy
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from signalbox_catalog.domain import kinds
from signalbox_catalog.domain.kinds import HOME, Reference
from signalbox_catalog.domain.manifests import NAME_RULE
from signalbox_catalog.domain.resources import (
    AVAILABLE,
    SHORT_FORMS,
    ChangeKind,
    Key,
    Manifest,
    Place,
    Resource,
    Revision,
    differs,
    updated,
)
from signalbox_catalog.errors import (
    AlreadyExists,
    BadInput,
    ResourceNotFound,
    StillReferenced,
    VersionConflict,
    VersionMoved,
)
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.vault import Prepared, Vault
from signalbox_catalog.store import facts, namespaces, resources, revisions
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_manifests import Flaw

Places = Mapping[str, Place]
"""Namespaces that may be referred to, by what they are called."""


@dataclass(frozen=True)
class Wish:
    """What shall be at one place, and what must be there before."""

    manifest: Manifest
    place: Place
    exists: bool | None = None
    """Whether it must be there already; either is right where this is None."""
    version: str | None = None
    """The one that it must have before, whatever else."""
    status: Mapping[str, Any] | None = None
    """What is observed about it from now on, beside what is anyway."""
    warning: str | None = None
    """For whoever asked."""

    @property
    def key(self) -> Key:
        return Key(self.place.project_id, self.manifest.kind.name, self.manifest.name)


@dataclass(frozen=True)
class WriteResult:
    """What became of a wish; nothing, where before and after are the same."""

    before: Resource | None
    after: Resource

    @property
    def changed(self) -> bool:
        return self.before is not self.after


def settled(manifest: Manifest, places: Places) -> Manifest:
    """Names the asker's own namespace where it is called `default`: to others that is another one."""
    home = places.get(HOME)
    own = [reference for reference in manifest.references if reference.namespace == HOME]
    if home is None or not own:
        return manifest
    spec: Any = copy.deepcopy(manifest.spec)
    for reference in own:
        *way, last = reference.namespace_at
        holder = spec
        for part in way:
            holder = holder[part]
        holder[last] = home.namespace
    named = tuple(
        replace(each, namespace=home.namespace) if each.namespace == HOME else each
        for each in manifest.references
    )
    return replace(manifest, spec=spec, references=named)


class Writer:
    """One change of one or many resources."""

    def __init__(self, vault: Vault, quotas: CatalogQuotas, transaction: Transaction, by: uuid.UUID) -> None:
        self._vault = vault
        self._quotas = quotas
        self._transaction = transaction
        self._by = by
        self._now = datetime.now(UTC)
        self._stored = False
        self._found_at: dict[uuid.UUID, int] = {}
        self._versions: dict[uuid.UUID, int] = {}

    async def lock(self, written: Collection[Place], referred: Collection[Place] = ()) -> None:
        """Comes before everything else, once."""
        self._found_at = await namespaces.lock(self._transaction, written, referred)
        self._versions = dict(self._found_at)

    async def write(self, wishes: Sequence[Wish], places: Places, prepared: Prepared) -> list[WriteResult]:
        """All of them, or none: in their order, whatever order they depend on each other in."""
        current = await resources.living(self._transaction.connection, [wish.key for wish in wishes])
        renewed = await self._renewed(wishes, current, places)
        flaws: list[Flaw] = []
        decided: list[tuple[Wish, WriteResult]] = []
        for wish in wishes:
            try:
                decided.append((wish, self._decide(wish, current.get(wish.key), prepared, renewed)))
            except BadInput as error:
                flaws += error.flaws
            except (ResourceNotFound, AlreadyExists, VersionMoved) as error:
                if wish.manifest.document is None:
                    raise
                flaws.append(_conflict(wish, error))
        if flaws:
            raise (VersionConflict if all(flaw.code == "conflict" for flaw in flaws) else BadInput)(*flaws)
        targets = await self._targets(
            [(wish, done) for wish, done in decided if done.changed or wish.manifest.found], places, decided
        )
        order = sorted(range(len(decided)), key=lambda n: kinds.rank(decided[n][1].after.kind))
        numbered = {n: self._numbered(decided[n][1]) for n in order}
        changes = [done for n in order if (done := numbered[n]).changed]
        await self._store(changes, targets)
        return [numbered[n] for n in range(len(decided))]

    async def _renewed(
        self, wishes: Sequence[Wish], current: Mapping[Key, Resource], places: Places
    ) -> frozenset[Key]:
        """Those that name something in other projects that is by now another one than they refer to.

        Writing them again takes it, even where they say the same as before; nothing else does.
        """
        named: dict[Key, dict[str, Key]] = {}
        for wish in wishes:
            keys = {each.field: _key_of(each, wish.place, places) for each in wish.manifest.references}
            elsewhere = {
                field: key
                for field, key in keys.items()
                if key is not None and key.project_id != wish.place.project_id
            }
            if wish.key in current and elsewhere and None not in keys.values():
                named[wish.key] = elsewhere
        if not named:
            return frozenset()
        connection = self._transaction.connection
        there = await resources.living(
            connection, {key for fields in named.values() for key in fields.values()}
        )
        made = {wish.key for wish in wishes} - current.keys()
        held = await resources.referred(connection, [current[key].uid for key in named])

        def is_renewed(key: Key) -> bool:
            before = held.get(current[key].uid, {})
            return set(named[key].values()) <= there.keys() | made and any(
                target in made or there[target].uid != before.get(field)
                for field, target in named[key].items()
            )

        return frozenset(key for key in named if is_renewed(key))

    def _decide(
        self, wish: Wish, current: Resource | None, prepared: Prepared, renewed: Collection[Key]
    ) -> WriteResult:
        manifest = wish.manifest
        if current is None:
            if wish.exists:
                raise ResourceNotFound(f"{manifest.kind.singular} {manifest.name}", wish.place.namespace)
            if not manifest.may_be_new:
                raise BadInput(
                    Flaw(
                        NAME_RULE,
                        "bad_name",
                        "metadata.name",
                        manifest.document,
                        manifest.line_of("metadata.name"),
                    )
                )
            secrets = self._vault.settle(wish.key, manifest, prepared, None)
            return WriteResult(None, self._new(wish, secrets))
        if wish.exists is False:
            raise AlreadyExists(f"{manifest.kind.singular} {manifest.name}", wish.place.namespace)
        if wish.version is not None and wish.version != str(current.version):
            raise VersionMoved
        secrets = self._vault.settle(wish.key, manifest, prepared, current)
        after = updated(current, manifest, secrets, self._now)
        status = _observed(current.status, wish.status)
        changes = differs(current, after) or status != current.status or wish.key in renewed
        after = replace(after, status=_with_short(status, manifest.short))
        # Where a key was sent, an old version is refused whether it is the right one or not.
        if (changes or manifest.found) and manifest.version not in (None, str(current.version)):
            raise VersionMoved
        if not changes:
            return WriteResult(current, current)
        return WriteResult(current, after)

    def _new(self, wish: Wish, secrets: Mapping[str, Any]) -> Resource:
        manifest = wish.manifest
        return Resource(
            uid=uuid7(),
            place=wish.place,
            kind=manifest.kind.name,
            name=manifest.name,
            display_name=manifest.display_name,
            labels=manifest.labels,
            annotations=manifest.annotations,
            spec=manifest.spec,
            secrets=secrets,
            status=_with_short(_observed(AVAILABLE, wish.status), manifest.short),
            generation=1,
            version=0,
            created_by=self._by,
            created_at=self._now,
            updated_at=self._now,
        )

    def _numbered(self, done: WriteResult) -> WriteResult:
        return replace(done, after=self._next(done.after)) if done.changed else done

    def _next(self, resource: Resource) -> Resource:
        """With the next number of its project."""
        project = resource.place.project_id
        self._versions[project] += 1
        return replace(resource, version=self._versions[project])

    async def _targets(
        self,
        looked_at: Sequence[tuple[Wish, WriteResult]],
        places: Places,
        decided: Sequence[tuple[Wish, WriteResult]],
    ) -> dict[uuid.UUID, dict[str, uuid.UUID]]:
        """What each of these refers to; refused where anything of it is not there.

        Those with a key are looked at even where nothing changes: a refusal must not tell that it was wrong.
        """
        by_key = {wish.key: done.after.uid for wish, done in decided}
        wanted: dict[uuid.UUID, list[tuple[Wish, Reference, Key | None]]] = {}
        for wish, done in looked_at:
            wanted[done.after.uid] = [
                (wish, reference, _key_of(reference, wish.place, places))
                for reference in wish.manifest.references
            ]
        missing = {key for each in wanted.values() for _, _, key in each if key is not None} - by_key.keys()
        there = await resources.living(self._transaction.connection, missing)
        by_key |= {key: resource.uid for key, resource in there.items()}
        flaws = [
            _nothing_there(wish, reference)
            for each in wanted.values()
            for wish, reference, key in each
            if key is None or key not in by_key
        ]
        if flaws:
            raise BadInput(*flaws)
        return {
            done.after.uid: {
                reference.field: by_key[key]
                for _, reference, key in wanted[done.after.uid]
                if key is not None
            }
            for _, done in looked_at
            if done.changed
        }

    async def _store(
        self, changes: Sequence[WriteResult], targets: dict[uuid.UUID, dict[str, uuid.UUID]]
    ) -> None:
        if not changes:
            return
        await self._check([(done.before, done.after) for done in changes])
        new = [done.after for done in changes if done.before is None]
        changed = [done.after for done in changes if done.before is not None]
        if new:
            await resources.add(self._transaction, new)
        if changed:
            await resources.change(self._transaction, changed)
        await resources.refer(self._transaction, targets)
        await self._record(
            [
                Revision(
                    ChangeKind.UPDATED if done.before is not None else ChangeKind.CREATED,
                    done.after,
                    done.before.labels if done.before is not None else None,
                    self._by,
                    self._now,
                )
                for done in changes
            ]
        )

    async def _check(self, changes: Sequence[tuple[Resource | None, Resource]]) -> None:
        """Comes before anything of them is stored."""
        connection = self._transaction.connection
        await self._quotas.check(connection, self._found_at, changes, first=not self._stored)

    async def _record(self, new: Sequence[Revision]) -> None:
        self._stored = True
        await revisions.add(self._transaction, new)
        facts.record(self._transaction, new)
        await namespaces.advance(self._transaction, self._versions)

    # -- deleting and bringing back ------------------------------------------------------------------

    async def delete(self, doomed: Sequence[Resource], *, cascade: bool) -> list[Resource]:
        """Also those of the same project that refer to them, if so wished; else those forbid it.

        Whoever refers from another project is not asked: nobody keeps what is another's. What they wrote
        stays, broken until this is restored.
        """
        found = {resource.uid: resource for resource in doomed}
        frontier = list(found)
        while frontier:
            referrers = [
                r for r in await resources.referrers(self._transaction, frontier) if r.uid not in found
            ]
            if referrers and not cascade:
                raise StillReferenced([(r.kind, r.place.namespace, r.name) for r in referrers])
            found |= {resource.uid: resource for resource in referrers}
            frontier = [resource.uid for resource in referrers]
        # Whoever refers goes first.
        ordered = sorted(found.values(), key=lambda resource: -kinds.rank(resource.kind))
        gone = [self._next(replace(r, deleted_at=self._now, updated_at=self._now)) for r in ordered]
        await resources.refer(self._transaction, {resource.uid: {} for resource in gone})
        await resources.change(self._transaction, gone)
        await self._record([Revision(ChangeKind.DELETED, r, r.labels, self._by, self._now) for r in gone])
        return gone

    async def restore(self, resource: Resource, manifest: Manifest, places: Places) -> Resource:
        """A deleted one, if all that it refers to is there."""
        back = self._next(replace(resource, deleted_at=None, updated_at=self._now))
        wish = Wish(manifest, resource.place)
        targets = await self._targets([(wish, WriteResult(None, back))], places, [])
        await self._check([(resource, back)])
        await resources.change(self._transaction, [back])
        await resources.refer(self._transaction, targets)
        await self._record([Revision(ChangeKind.RESTORED, back, None, self._by, self._now)])
        return back

    async def set_back(
        self, current: Resource, spec: Resource, manifest: Manifest, places: Places
    ) -> Resource:
        """The spec of before, keys included, becomes a new generation."""
        after = replace(
            current,
            spec=spec.spec,
            secrets=spec.secrets,
            generation=current.generation + 1,
            updated_at=self._now,
        )
        if not differs(current, after):
            return current
        done = self._numbered(WriteResult(current, after))
        targets = await self._targets([(Wish(manifest, current.place), done)], places, [])
        await self._store([done], targets)
        return done.after

    async def set_status(self, current: Resource, status: Mapping[str, Any]) -> Resource:
        """What is observed about it; no new generation."""
        done = self._numbered(WriteResult(current, replace(current, status=status, updated_at=self._now)))
        await self._check([(current, done.after)])
        await resources.change(self._transaction, [done.after])
        await self._record([Revision(ChangeKind.UPDATED, done.after, current.labels, self._by, self._now)])
        return done.after


def _with_short(status: Mapping[str, Any], short: Sequence[str]) -> Mapping[str, Any]:
    """What one client has sent short, another one may write whole: both go on reading their own."""
    known = sorted({*status.get(SHORT_FORMS, ()), *short})
    return {**status, SHORT_FORMS: known} if known else status


def _observed(before: Mapping[str, Any], wished: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The same package again is not another one: what was there before it stays."""
    old, new = before.get("package"), (wished or {}).get("package")
    same = isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("sha256") == new.get("sha256")
    return before if same or not wished else {**before, **wished}


def _key_of(reference: Reference, own: Place, places: Places) -> Key | None:
    place = own if reference.namespace is None else places.get(reference.namespace)
    return Key(place.project_id, reference.kind, reference.name) if place is not None else None


def _nothing_there(wish: Wish, reference: Reference) -> Flaw:
    """The same for what is not there and for what the asker may not read."""
    return Flaw(
        f"There is no {reference.kind.lower()} {reference.name} in the namespace "
        f"{reference.namespace or wish.place.namespace}.",
        "reference_not_found",
        f"spec.{reference.field}",
        wish.manifest.document,
        wish.manifest.line_of(f"spec.{reference.field}"),
    )


def _conflict(wish: Wish, error: SignalboxError) -> Flaw:
    message = (
        "It has been changed since the resourceVersion that the document names."
        if isinstance(error, VersionMoved)
        else error.detail
    )
    manifest = wish.manifest
    where = "metadata.resourceVersion"
    return Flaw(message, "conflict", where, manifest.document, manifest.line_of(where))
