"""One resource at a time: made, replaced, patched, deleted and brought back."""

import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from signalbox_catalog.domain.kinds import HOME, Kind
from signalbox_catalog.domain.kinds.base import found_at
from signalbox_catalog.domain.manifests import checked, of_kind
from signalbox_catalog.domain.masks import mask
from signalbox_catalog.domain.patches import merged
from signalbox_catalog.domain.resources import Key, Manifest, Place, Resource, said_by
from signalbox_catalog.errors import (
    AlreadyExists,
    BadInput,
    Contention,
    GenerationNotFound,
    NothingDeleted,
    VersionMoved,
)
from signalbox_catalog.service.access import AccessResolver, own_place
from signalbox_catalog.service.finding import kind_called, living_one, not_found
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.replies import reply_of, written_reply_of
from signalbox_catalog.service.vault import Prepared, Vault
from signalbox_catalog.service.writing import Places, Wish, Writer, settled
from signalbox_catalog.store import resources, revisions
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_manifests import Document, Flaw

TRIES = 60
"""How often something is done again that others keep changing."""
_LONGEST_PAUSE = 0.05

T = TypeVar("T")


async def retry_while_contended(attempt: Callable[[], Awaitable[T]]) -> T:
    """From the start, with what is there now."""
    for number in range(TRIES):
        try:
            return await attempt()
        except Contention:
            await asyncio.sleep(random.uniform(0, min(0.002 * (number + 1), _LONGEST_PAUSE)))  # noqa: S311 - a pause, no secret
    raise Contention


class Changes:
    def __init__(
        self,
        database: Database,
        vault: Vault,
        quotas: CatalogQuotas,
        access: AccessResolver,
        limiter: ProjectLimiter,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._vault = vault
        self._quotas = quotas
        self._access = access

    async def create(self, call: Call, ask: contract.CreateResource) -> Outcome[contract.WrittenResource]:
        kind = kind_called(ask.plural)
        manifest = of_kind(kind, ask.manifest.get_secret_value(), strict=ask.strict)
        call = call.about(outline(manifest))
        return await self._write(call, Wish(manifest, self._place(call, manifest), exists=False))

    async def replace(self, call: Call, ask: contract.ReplaceResource) -> Outcome[contract.WrittenResource]:
        kind = kind_called(ask.plural)
        document = _named(ask.manifest.get_secret_value(), ask.name)
        manifest = of_kind(kind, document, strict=ask.strict)
        call = call.about(outline(manifest))
        place = self._place(call, manifest)
        return await self._write(call, Wish(manifest, place, exists=True, version=ask.expected_version))

    async def patch(self, call: Call, ask: contract.PatchResource) -> Outcome[contract.WrittenResource]:
        """What the patch was not made for may have changed in between: then it is merged once more."""
        kind = kind_called(ask.plural)
        place = own_place(call)
        patch = ask.patch.get_secret_value()
        call = call.about(_digest(mask(patch).spec))
        if (before := await call.replayed()) is not None:
            return before

        async def attempt() -> Outcome[contract.WrittenResource]:
            async with self._database.reading() as connection:
                current = await living_one(connection, place, ask.plural, ask.name)
            if ask.expected_version not in (None, str(current.version)):
                raise VersionMoved
            manifest = _patched(kind, current, patch, strict=ask.strict)
            if manifest.version not in (None, str(current.version)):
                raise VersionMoved
            wish = Wish(manifest, self._place(call, manifest), exists=True, version=str(current.version))
            wish, places = await self._resolved(call, wish)
            return await self._commit(call, wish, places, await self._prepared(wish), stale=Contention)

        # The slot is held from the first look on: whoever merges before would merge in vain.
        async with self._limiter.slots([place.project_id]):
            return await retry_while_contended(attempt)

    async def _write(self, call: Call, wish: Wish) -> Outcome[contract.WrittenResource]:
        wish, places = await self._resolved(call, wish)

        async def attempt() -> Outcome[contract.WrittenResource]:
            prepared = await self._prepared(wish)
            async with self._limiter.slots([wish.place.project_id]):
                return await self._commit(call, wish, places, prepared, stale=VersionMoved)

        return await retry_while_contended(attempt)

    async def _resolved(self, call: Call, wish: Wish) -> tuple[Wish, Places]:
        """With the namespaces that it refers to, as far as the asker may read them."""
        opened = await self._access.resolve(call, namespaces_of(wish.manifest))
        places = {name: each.place for name, each in opened.items()}
        return replace(wish, manifest=settled(wish.manifest, places)), places

    async def _prepared(self, wish: Wish) -> Prepared:
        async with self._database.reading() as connection:
            current = await resources.living(connection, [wish.key] if wish.manifest.found else [])
        return await self._vault.prepare([(wish.key, wish.manifest)], current)

    async def _commit(
        self, call: Call, wish: Wish, places: Places, prepared: Prepared, *, stale: type[SignalboxError]
    ) -> Outcome[contract.WrittenResource]:
        """Raises `stale` where the wish is for another version than the one that is there."""

        async def work(transaction: Transaction) -> contract.WrittenResource:
            writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
            await writer.lock([wish.place], _referred(wish.manifest, places))
            try:
                written = await writer.write([wish], places, prepared)
            except VersionMoved as error:
                raise stale from error
            return written_reply_of(written[0].after, wish.manifest)

        return await call.once(work)

    @staticmethod
    def _place(call: Call, manifest: Manifest) -> Place:
        """The gateway has found the namespace that the document names; nobody else's word counts here."""
        place = own_place(call)
        named = manifest.namespace
        if named in (None, place.namespace) or (named == HOME and call.principal.at_home):
            return place
        message = f"This is about the namespace {place.namespace}."
        raise BadInput(Flaw(message, "wrong_namespace", "metadata.namespace"))

    # -- without keys, so durable ----------------------------------------------------------------------

    async def delete(self, call: Call, command: contract.DeleteResource) -> Outcome[Empty]:
        place = own_place(call)

        async def work(transaction: Transaction) -> Empty:
            writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
            await writer.lock([place])
            current = await living_one(transaction.connection, place, command.plural, command.name)
            if command.expected_version not in (None, str(current.version)):
                raise VersionMoved
            gone = await writer.delete([current], cascade=command.cascade)
            others = [resource for resource in gone if resource.uid != current.uid]
            call.note_parts(transaction, [(called(each), each.place.project_id) for each in others])
            return Empty()

        async with self._limiter.slots([place.project_id]):
            return await call.once(work)

    async def restore(self, call: Call, command: contract.RestoreResource) -> Outcome[contract.Resource]:
        kind = kind_called(command.plural)
        place = own_place(call)
        key = Key(place.project_id, kind.name, command.name)

        async def work(transaction: Transaction) -> contract.Resource:
            found = await resources.last_deleted(transaction.connection, key)
            manifest = _manifest_of(kind, found) if found is not None else None
            places = await self._open(call, manifest)
            writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
            await writer.lock([place], _referred(manifest, places))
            if await resources.get(transaction.connection, key) is not None:
                raise AlreadyExists(f"{kind.singular} {command.name}", place.namespace)
            deleted = await resources.last_deleted(transaction.connection, key, lock=True)
            if deleted is None:
                raise NothingDeleted
            if found is None or manifest is None or found.uid != deleted.uid:
                raise Contention
            return reply_of(await writer.restore(deleted, manifest, places))

        return await self._again(call, work)

    async def roll_back(self, call: Call, command: contract.RollBackResource) -> Outcome[contract.Resource]:
        kind = kind_called(command.plural)
        place = own_place(call)

        async def work(transaction: Transaction) -> contract.Resource:
            seen = await living_one(transaction.connection, place, command.plural, command.name)
            before = await revisions.generation(transaction.connection, place, seen.uid, command.generation)
            if before is None:
                raise GenerationNotFound
            manifest = _manifest_of(kind, before.resource)
            places = await self._open(call, manifest)
            writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
            await writer.lock([place], _referred(manifest, places))
            current = await resources.get(transaction.connection, seen.key)
            if current is None or current.uid != seen.uid:
                raise not_found(kind, command.name, place)
            if command.expected_version not in (None, str(current.version)):
                raise VersionMoved
            return reply_of(await writer.set_back(current, before.resource, manifest, places))

        return await self._again(call, work)

    async def _again(
        self, call: Call, work: Callable[[Transaction], Awaitable[contract.Resource]]
    ) -> Outcome[contract.Resource]:
        async def attempt() -> Outcome[contract.Resource]:
            async with self._limiter.slots([own_place(call).project_id]):
                return await call.once(work)

        return await retry_while_contended(attempt)

    async def _open(self, call: Call, manifest: Manifest | None) -> Places:
        """What it refers to must be open to whoever brings it back, as it was to whoever wrote it.

        A command that has waited for so long that its grant is over reaches no other namespace.
        """
        try:
            opened = await self._access.resolve(call, namespaces_of(manifest) if manifest else set())
        except SignalboxError as error:
            if error.status != 401:
                raise
            opened = await self._access.resolve(call, ())
        return {name: each.place for name, each in opened.items()}


def _named(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The name of the address counts where the document has none, and must be the same where it has one."""
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        return document  # it is refused for that
    if "name" not in metadata:
        return document | {"metadata": metadata | {"name": name}}
    if metadata["name"] != name:
        raise BadInput(
            Flaw(f"The name here is {name}: resources are not renamed.", "renamed", "metadata.name")
        )
    return document


def _patched(kind: Kind, current: Resource, patch: Mapping[str, Any], *, strict: bool) -> Manifest:
    """What the patch makes of the resource as it is answered."""
    own = said_by(current)
    own["metadata"] |= {"name": current.name, "namespace": current.place.namespace}
    changes = patch.get("spec")
    if isinstance(changes, Mapping):
        for short, whole in kind.replaces.items():
            if short in changes and found_at(changes, whole) is None:
                own["spec"] = _without(own["spec"], whole)
    result = merged(own, dict(patch))
    if not isinstance(result, dict):
        raise BadInput(Flaw("A merge patch is a JSON object.", "dict_type", ""))
    return of_kind(kind, _named(result, current.name), strict=strict)


def _without(spec: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *below = path
    if not below:
        return {name: value for name, value in spec.items() if name != first}
    inner = spec.get(first)
    return dict(spec) | ({first: _without(inner, tuple(below))} if isinstance(inner, Mapping) else {})


def _manifest_of(kind: Kind, resource: Resource) -> Manifest:
    """As if somebody had sent the resource as it is."""
    document = said_by(resource)
    document["metadata"]["name"] = resource.name
    return checked(kind, Document(1, document, {(): 1}), named=False)


def _referred(manifest: Manifest | None, places: Places) -> set[Place]:
    return {places[name] for name in (namespaces_of(manifest) if manifest else ()) if name in places}


def namespaces_of(manifest: Manifest) -> set[str]:
    return {reference.namespace for reference in manifest.references if reference.namespace is not None}


def outline(manifest: Manifest) -> str:
    """The same for the same manifest, without what its keys are."""
    said = [manifest.name, manifest.display_name, manifest.labels, manifest.annotations, manifest.spec]
    return _digest(said)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def called(resource: Resource) -> str:
    """As the audit log names it."""
    return f"{resource.kind}/{resource.name}"
