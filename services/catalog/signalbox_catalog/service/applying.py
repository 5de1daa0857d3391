"""Many documents at once: all of them, or none."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from signalbox_catalog.domain.diffs import diff
from signalbox_catalog.domain.kinds import HOME
from signalbox_catalog.domain.labels import Requirement, parse_selector
from signalbox_catalog.domain.manifests import checked, header_of, kind_of
from signalbox_catalog.domain.resources import Key, Manifest, Place, Resource, other_keys, said_by
from signalbox_catalog.errors import BadInput, NamespaceNotFound, RoleTooLow, field_errors, refusal_of
from signalbox_catalog.service.access import Access, AccessResolver
from signalbox_catalog.service.changes import called, namespaces_of, outline, retry_while_contended
from signalbox_catalog.service.packages import SKILL, OpenedPackage, Packages, described, replaced_by
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.replies import change_of, spec_of
from signalbox_catalog.service.vault import Prepared, Vault
from signalbox_catalog.service.writing import Places, Wish, Writer, WriteResult, settled
from signalbox_catalog.store import resources
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.catalog import ApplyAction
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_manifests import Document, Flaw, ManifestError, read

AT_ONCE = 2
"""Texts that are read at the same time: it takes the processor."""
MAX_FLAWS = 50
KEYS_NOT_COMPARED = (
    "A dry run does not tell whether the keys are those that are stored: they are shown as new."
)
MAX_WARNINGS = 200
MAX_DIFFS = 1024 * 1024
"""Bytes of all differences of an answer."""


@dataclass(frozen=True)
class _ForeignDocument:
    """A document of another system."""

    document: Document
    warning: str


@dataclass(frozen=True)
class _Plan:
    """What was asked for, with every namespace found."""

    steps: Sequence[Wish | _ForeignDocument]
    places: Places
    prune_in: Sequence[Place]
    selector: Sequence[Requirement]

    @property
    def wishes(self) -> list[Wish]:
        return [step for step in self.steps if isinstance(step, Wish)]

    @property
    def projects(self) -> set[UUID]:
        """All that are changed."""
        return {place.project_id for place in (*(wish.place for wish in self.wishes), *self.prune_in)}

    @property
    def referred(self) -> set[Place]:
        names = {name for wish in self.wishes for name in namespaces_of(wish.manifest)}
        return {self.places[name] for name in names if name in self.places}


class Applying:
    def __init__(
        self,
        database: Database,
        vault: Vault,
        quotas: CatalogQuotas,
        access: AccessResolver,
        limiter: ProjectLimiter,
        packages: Packages,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._vault = vault
        self._quotas = quotas
        self._access = access
        self._packages = packages
        self._readers = asyncio.Semaphore(AT_ONCE)

    async def apply(
        self, call: Call, ask: contract.Apply
    ) -> Outcome[contract.ApplyResult] | contract.ApplyResult:
        selector = parse_selector(ask.label_selector or "")
        if ask.prune and not selector:
            message = "To prune, say with a label selector what belongs together."
            raise BadInput(Flaw(message, "selector_needed", "labelSelector"))
        async with self._readers:
            text = ask.text.get_secret_value()
            bare = bool(ask.packages) and not text.strip()
            read = [] if bare else await asyncio.to_thread(_read, text.encode(), strict=ask.strict)
        opened = await self._packages.open(ask.packages)
        try:
            plan = await self._planned(call, ask, read, opened, selector)
        except RoleTooLow as refusal:
            if refusal.project is None or ask.dry_run:
                raise
            return await _refused(call.within(refusal.project), refusal)
        uploaded = [each.object.get_secret_value() for each in ask.packages]
        if ask.dry_run:
            tried = await self._tried(call, plan)
            await self._packages.clear(uploaded)
            return tried
        call = call.about(_outline(plan))
        if len(plan.projects) == 1:
            call = call.within(*plan.projects)

        async def attempt() -> Outcome[contract.ApplyResult]:
            prepared = await self._prepared(plan, store=True)
            replaced: list[str] = []

            async def work(transaction: Transaction) -> contract.ApplyResult:
                written, pruned = await self._carry_out(call, transaction, plan, prepared)
                parts = [each.after for each in written if each.changed] + pruned
                call.note_parts(transaction, [(called(each), each.place.project_id) for each in parts])
                replaced[:] = [stored_as for each in written for stored_as in replaced_by(each)]
                return _applied(plan, written, pruned, dry_run=False)

            async with self._limiter.slots(plan.projects):
                outcome = await call.once(work)
            await self._packages.clear([*uploaded, *replaced])
            return outcome

        return await retry_while_contended(attempt)

    async def _tried(self, call: Call, plan: _Plan) -> contract.ApplyResult:
        """Does it all, and takes it back."""

        async def attempt() -> contract.ApplyResult:
            prepared = await self._prepared(plan, store=False)
            async with self._limiter.slots(plan.projects), self._database.trial() as transaction:
                written, pruned = await self._carry_out(call, transaction, plan, prepared)
                return _applied(plan, written, pruned, dry_run=True)

        return await retry_while_contended(attempt)

    async def _planned(
        self,
        call: Call,
        ask: contract.Apply,
        read: Sequence[Manifest | _ForeignDocument],
        packaged: Sequence[OpenedPackage],
        selector: Sequence[Requirement],
    ) -> _Plan:
        manifests = [each for each in read if isinstance(each, Manifest)]
        if ask.prune and not manifests:
            message = "There is no document of ours: to prune by that would be to delete everything."
            raise BadInput(Flaw(message, "no_documents", ""))
        default = ask.into or ask.namespace
        names = {each.namespace or default for each in manifests} or {default}
        names |= {default} if packaged else set()
        referred = {name for each in manifests for name in namespaces_of(each)}
        opened = await self._opened(call, names | referred, ask.into)
        _check_open(manifests, opened, names, default)
        places = {name: each.place for name, each in opened.items()}
        steps = [
            Wish(settled(each, places), places[each.namespace or default])
            if isinstance(each, Manifest)
            else each
            for each in read
        ]
        steps = _with_packages(steps, packaged, places.get(default))
        _check_once(steps)
        prune_in = sorted({places[name] for name in names}, key=lambda place: place.namespace)
        return _Plan(steps, places, prune_in if ask.prune else (), selector)

    async def _opened(self, call: Call, names: set[str], into: str | None) -> Mapping[str, Access]:
        """Where `into` says so, `default` is that namespace: what others wrote has no other name for home."""
        if into in (None, HOME):
            return await self._access.resolve(call, names)
        found = dict(await self._access.resolve(call, (names - {HOME}) | {into}))
        found.pop(HOME, None)
        return found | ({HOME: found[into]} if into in found else {})

    async def _prepared(self, plan: _Plan, *, store: bool) -> Prepared:
        wanted = [(wish.key, wish.manifest) for wish in plan.wishes if wish.manifest.found]
        async with self._database.reading() as connection:
            current = await resources.living(connection, [key for key, _ in wanted])
        return await self._vault.prepare(wanted, current, store=store)

    async def _carry_out(
        self, call: Call, transaction: Transaction, plan: _Plan, prepared: Prepared
    ) -> tuple[list[WriteResult], list[Resource]]:
        wishes = plan.wishes
        writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
        await writer.lock({*(wish.place for wish in wishes), *plan.prune_in}, plan.referred)
        written = await writer.write(wishes, plan.places, prepared)
        pruned: list[Resource] = []
        if plan.prune_in:
            projects = [place.project_id for place in plan.prune_in]
            wished = {wish.key for wish in wishes}
            found = await resources.selected(transaction, projects, plan.selector)
            doomed = [resource for resource in found if resource.key not in wished]
            pruned = await writer.delete(doomed, cascade=False) if doomed else []
        return written, pruned


async def _refused(call: Call, refusal: RoleTooLow) -> Outcome[contract.ApplyResult]:
    """Written down where it was tried."""

    async def work(_transaction: Transaction) -> contract.ApplyResult:
        raise refusal

    return await call.once(work)


def _read(raw: bytes, *, strict: bool) -> list[Manifest | _ForeignDocument]:
    """Everything that can be said about the text without looking anything up."""
    found: list[Manifest | _ForeignDocument] = []
    flaws: list[Flaw] = []
    for document in _documents(raw):
        try:
            kind = kind_of(document)
            found.append(checked(kind, document, strict=strict) if kind is not None else _skipped(document))
        except BadInput as error:
            flaws += error.flaws
        if len(flaws) >= MAX_FLAWS:
            break
    if flaws:
        raise refusal_of(*flaws[:MAX_FLAWS])
    return found


def _documents(raw: bytes) -> list[Document]:
    try:
        return read(raw)
    except ManifestError as error:
        raise BadInput(*error.flaws) from None


def _skipped(document: Document) -> _ForeignDocument:
    version, kind = header_of(document.content)
    return _ForeignDocument(document, f"{kind} of {version} is no kind of this catalog: it was skipped.")


def _with_packages(
    steps: Sequence[Wish | _ForeignDocument], packaged: Sequence[OpenedPackage], place: Place | None
) -> list[Wish | _ForeignDocument]:
    """A document about a skill counts beside its package; where there is none, its SKILL.md does."""
    found = list(steps)
    if place is None:
        return found
    at = {step.key: number for number, step in enumerate(found) if isinstance(step, Wish)}
    flaws: list[Flaw] = []
    for each in packaged:
        number = at.get(Key(place.project_id, SKILL, each.name))
        wish = found[number] if number is not None else None
        try:
            if not isinstance(wish, Wish):
                found.append(Wish(described(each), place, status=each.status, warning=each.warning))
            elif number is not None:
                found[number] = replace(wish, status=each.status, warning=each.warning)
        except BadInput as error:
            flaws += error.flaws
    if flaws:
        raise BadInput(*flaws[:MAX_FLAWS])
    return found


def _check_open(
    manifests: Sequence[Manifest], opened: Mapping[str, Access], targets: set[str], default: str
) -> None:
    """Another's namespace is answered like one that is not there."""
    if not targets <= opened.keys():
        closed = [each for each in manifests if (each.namespace or default) not in opened]
        raise NamespaceNotFound(
            *(_at(each, "There is no such project.", "project_not_found") for each in closed)
        )
    low = {name for name in targets if not opened[name].role.includes(ProjectRole.DEVELOPER)}
    if low:
        message = f"This takes the role {ProjectRole.DEVELOPER} or above."
        affected = [each for each in manifests if (each.namespace or default) in low]
        refusal = RoleTooLow(*(_at(each, message, "role_too_low") for each in affected))
        if len(projects := {opened[name].place.project_id for name in low}) == 1:
            (refusal.project,) = projects
        raise refusal


def _at(manifest: Manifest, message: str, code: str) -> Flaw:
    return Flaw(
        message, code, "metadata.namespace", manifest.document, manifest.line_of("metadata.namespace")
    )


def _check_once(steps: Sequence[Wish | _ForeignDocument]) -> None:
    seen: dict[Key, Manifest] = {}
    flaws = []
    for wish in (step for step in steps if isinstance(step, Wish)):
        first = seen.setdefault(wish.key, wish.manifest)
        if first is not wish.manifest:
            message = f"Document {first.document} (line {first.line}) is about the same resource."
            flaws.append(Flaw(message, "twice", "metadata.name", wish.manifest.document, wish.manifest.line))
    if flaws:
        raise BadInput(*flaws[:MAX_FLAWS])


def _outline(plan: _Plan) -> str:
    parts = [
        f"{wish.key.project_id}/{wish.key.kind}/{outline(wish.manifest)}/{_package_of(wish)}"
        for wish in plan.wishes
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _package_of(wish: Wish) -> str:
    package = (wish.status or {}).get("package") or {}
    return str(package.get("sha256", ""))


# -- the answer -----------------------------------------------------------------------------------------


def _applied(
    plan: _Plan, written: Sequence[WriteResult], pruned: Sequence[Resource], *, dry_run: bool
) -> contract.ApplyResult:
    done = iter(written)
    items = [
        _item(next(done), step, diffs=dry_run) if isinstance(step, Wish) else _skipped_item(step)
        for step in plan.steps
    ]
    items += [_pruned_item(resource, diffs=dry_run) for resource in pruned]
    return contract.ApplyResult(items=tuple(_within(items)), dry_run=dry_run)


def _within(items: Sequence[contract.ApplyResultItem]) -> list[contract.ApplyResultItem]:
    """With differences and warnings as long as there is room for them."""
    size, warnings = 0, MAX_WARNINGS
    shown = []
    for whole in items:
        item = whole.model_copy(update={"warnings": whole.warnings[:warnings]})
        warnings -= len(item.warnings)
        size += len(item.encode()) if item.diff else 0
        too_much = bool(item.diff) and size > MAX_DIFFS
        warning = "The difference is left out: the answer would be too large."
        shown.append(item.model_copy(update={"diff": None, "warning": warning}) if too_much else item)
    return shown


def _item(done: WriteResult, wish: Wish, *, diffs: bool) -> contract.ApplyResultItem:
    manifest = wish.manifest
    action = ApplyAction.UNCHANGED
    if done.changed:
        action = ApplyAction.CREATED if done.before is None else ApplyAction.UPDATED
    return contract.ApplyResultItem(
        kind=done.after.kind,
        namespace=done.after.place.namespace,
        name=done.after.name,
        action=action,
        document=manifest.document,
        line=manifest.line,
        generation=done.after.generation,
        resource_version=str(done.after.version),
        diff=_difference(done) if diffs and done.changed else None,
        warning=wish.warning or _untold(done, manifest, tried=diffs),
        warnings=field_errors(*manifest.warnings),
    )


def _untold(done: WriteResult, manifest: Manifest, *, tried: bool) -> str | None:
    return KEYS_NOT_COMPARED if tried and done.before is not None and manifest.found else None


def _difference(done: WriteResult) -> tuple[contract.Change, ...]:
    before = _answered(done.before) if done.before is not None else {}
    after = _answered(done.after) if done.before is not None else _without_empty(_answered(done.after))
    changes = list(diff(before, after))
    if done.before is not None:
        changes += other_keys(done.before, done.after)
    return tuple(change_of(change) for change in changes)


def _answered(resource: Resource) -> dict[str, Any]:
    """As whoever looks at it before and afterwards is told."""
    return said_by(resource) | {"spec": spec_of(resource)}


def _without_empty(said: dict[str, Any]) -> dict[str, Any]:
    """What was not said need not be shown as new."""
    metadata = {name: value for name, value in said["metadata"].items() if value}
    return ({"metadata": metadata} if metadata else {}) | {"spec": said["spec"]}


def _skipped_item(step: _ForeignDocument) -> contract.ApplyResultItem:
    _version, kind = header_of(step.document.content)
    metadata = step.document.content.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return contract.ApplyResultItem(
        kind=kind or "",
        name=name if isinstance(name, str) else None,
        action=ApplyAction.SKIPPED,
        document=step.document.number,
        line=step.document.line_of(()),
        warning=step.warning,
    )


def _pruned_item(resource: Resource, *, diffs: bool) -> contract.ApplyResultItem:
    gone = [change_of(change) for change in diff(_without_empty(_answered(resource)), {})] if diffs else None
    return contract.ApplyResultItem(
        kind=resource.kind,
        namespace=resource.place.namespace,
        name=resource.name,
        action=ApplyAction.DELETED,
        resource_version=str(resource.version),
        diff=tuple(gone) if gone is not None else None,
    )
