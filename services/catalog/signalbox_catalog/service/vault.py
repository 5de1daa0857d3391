"""Where the keys of specs go, and how it is known that one is the same as before."""

import asyncio
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from signalbox_catalog.domain.destinations import Moves
from signalbox_catalog.domain.places import stays_in_place
from signalbox_catalog.domain.resources import Key, Manifest, Resource, Secrets, StoredSecret
from signalbox_catalog.errors import BadInput, Contention
from signalbox_common.keys import derive, uuid7
from signalbox_common.secrets import SecretStore
from signalbox_manifests import Flaw

PREFIX = "resources/"
_AT_ONCE = 4
"""Bundles stored at the same time, each with a database connection of its own."""

Wanted = tuple[Key, Manifest]
Prepared = Mapping[Key, Mapping[str, StoredSecret]]


class Vault:
    def __init__(self, store: SecretStore, secret_key: str) -> None:
        self._store = store
        self._key = derive(secret_key, "catalog/marks")

    async def prepare(
        self, wanted: Sequence[Wanted], current: Mapping[Key, Resource], *, store: bool = True
    ) -> Prepared:
        """Stores what is new, before the transaction that will refer to it.

        In a trial all of it counts as new: whether a key is the one that is stored is not for trying out.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(key: Key, manifest: Manifest) -> tuple[Key, Mapping[str, StoredSecret]]:
            known = current[key].secrets if key in current else {}
            marks = self._marks(key, manifest)
            new = {
                pointer: manifest.found[pointer]
                for pointer, mark in marks.items()
                if not store or pointer not in known or known[pointer].mark != mark
            }
            if not new:
                return key, {}
            if not store:
                return key, {pointer: StoredSecret("", uuid7().hex) for pointer in new}
            bundle = f"{PREFIX}{uuid7().hex}"
            async with slots:
                await self._store.put(bundle, json.dumps(new).encode())
            return key, {pointer: StoredSecret(bundle, marks[pointer]) for pointer in new}

        with_keys = [(key, manifest) for key, manifest in wanted if manifest.found]
        return dict(await asyncio.gather(*(one(key, manifest) for key, manifest in with_keys)))

    def settle(self, key: Key, manifest: Manifest, prepared: Prepared, current: Resource | None) -> Secrets:
        """The keys that belong to it from now on: new ones, those that are the same, and those that stay."""
        known = current.secrets if current is not None else {}
        new = prepared.get(key, {})
        secrets: dict[str, StoredSecret] = {}
        for pointer, mark in self._marks(key, manifest).items():
            stored, fresh = known.get(pointer), new.get(pointer)
            if fresh is not None and (stored is None or fresh.mark != stored.mark):
                secrets[pointer] = fresh
            elif stored is not None and stored.mark == mark:
                secrets[pointer] = stored
            else:
                raise Contention
        self._check_kept(manifest, known, current)
        return secrets | {pointer: known[pointer] for pointer in manifest.kept}

    @staticmethod
    def _check_kept(manifest: Manifest, known: Secrets, current: Resource | None) -> None:
        """What stays must be there, and go where it went."""
        unknown = sorted(
            pointer
            for pointer in manifest.kept
            if pointer not in known
            or (current is not None and not stays_in_place(pointer, current.spec, manifest.spec))
        )
        if unknown:
            raise BadInput(*(_nothing_behind(manifest, pointer) for pointer in unknown))
        if current is None or not manifest.kept:
            return
        moves = Moves(current.spec, manifest.spec, manifest.found)
        moved = [(key, where) for key in sorted(manifest.kept) if (where := moves.of(key)) is not None]
        if moved:
            raise BadInput(*(_sent_elsewhere(manifest, key, where) for key, where in moved))

    async def reveal(self, secrets: Secrets) -> dict[str, Any]:
        """The keys themselves, by their places in the spec."""
        bundles = {
            name: json.loads((await self._store.get(name)).value)
            for name in sorted({entry.bundle for entry in secrets.values()})
        }
        return {pointer: bundles[entry.bundle][pointer] for pointer, entry in secrets.items()}

    def _marks(self, key: Key, manifest: Manifest) -> dict[str, str]:
        where = [str(key.project_id), key.kind, key.name]
        return {
            pointer: hmac.digest(self._key, json.dumps([*where, pointer, value]).encode(), "sha256").hex()[
                :32
            ]
            for pointer, value in manifest.found.items()
        }


def _dotted(pointer: str) -> str:
    return "spec" + pointer.replace("/", ".")


def _sent_elsewhere(manifest: Manifest, key: str, where: str) -> Flaw:
    return Flaw(
        f"{_dotted(where)} says where this key goes, and is another now: send the key again.",
        "key_needed",
        _dotted(key),
        manifest.document,
        manifest.line_of(_dotted(key)),
    )


def _nothing_behind(manifest: Manifest, pointer: str) -> Flaw:
    where = _dotted(pointer)
    return Flaw(
        "`***` stands for a key that is stored already, and there is none here; keys in a list that has "
        "changed before them have to be sent again.",
        "unknown_secret",
        where,
        manifest.document,
        manifest.line_of(where),
    )
