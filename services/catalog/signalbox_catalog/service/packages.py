"""What skills carry."""

import asyncio
from collections.abc import Mapping
from typing import Any

from signalbox_catalog.domain import packages
from signalbox_catalog.domain.kinds import by_name
from signalbox_catalog.domain.manifests import of_kind
from signalbox_catalog.domain.packages import Package
from signalbox_catalog.domain.resources import Key, Manifest
from signalbox_catalog.errors import BadInput, PackageNotFound, UploadNotFound
from signalbox_catalog.service.access import own_place
from signalbox_catalog.service.finding import living_one
from signalbox_catalog.service.limiter import ProjectLimiter
from signalbox_catalog.service.replies import reply_of
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.service.writing import Wish, Writer
from signalbox_catalog.store import resources
from signalbox_common.bus import Call
from signalbox_common.bus.objects import Bucket, ObjectNotFound
from signalbox_common.contracts import catalog as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.outcomes import Outcome
from signalbox_manifests import Flaw

AT_ONCE = 2
"""Packages that are looked through at the same time: each is in memory as a whole."""
SKILL = "Skill"


class Packages:
    def __init__(self, database: Database, bucket: Bucket, vault: Vault, limiter: ProjectLimiter) -> None:
        self._database = database
        self._limiter = limiter
        self._bucket = bucket
        self._vault = vault
        self._lookers = asyncio.Semaphore(AT_ONCE)

    async def attach(self, call: Call, ask: contract.AttachPackage) -> Outcome[contract.Resource]:
        """What is not attached in the end is cleared away later."""
        stored_as = ask.object.get_secret_value()
        try:
            package = await self._looked_through(stored_as)
        except ObjectNotFound as error:
            raise UploadNotFound from error
        place = own_place(call)
        key = Key(place.project_id, SKILL, ask.name)
        status = {"package": _kept(package, stored_as)}
        manifest = _manifest(ask.name, package)
        call = call.about(package.sha256)

        async def work(transaction: Transaction) -> contract.Resource:
            writer = Writer(self._vault, transaction, call.principal.user_id)
            await writer.lock([place])
            current = await resources.get(transaction.connection, key)
            if current is None:
                current = (await writer.write([Wish(manifest, place)], {}, {}))[0].after
            return reply_of(await writer.set_status(current, {**current.status, **status}))

        async with self._limiter.slots([place.project_id]):
            return await call.once(work)

    async def get(self, call: Call, query: contract.GetPackage) -> contract.PackageInfo:
        async with self._database.reading() as connection:
            skill = await living_one(connection, own_place(call), "skills", query.name)
        kept = skill.status.get("package")
        if not isinstance(kept, Mapping):
            raise PackageNotFound
        info = contract.PackageInfo.model_validate(kept)
        if not query.with_files:
            return info
        package = await self._looked_through(info.object)
        files = [
            contract.PackagedFile(path=file.path, size=file.size, executable=file.executable)
            for file in package.files
        ]
        return info.model_copy(update={"files": tuple(files)})

    async def _looked_through(self, stored_as: str) -> Package:
        async with self._lookers:
            raw = await self._bucket.get(stored_as)
            return await asyncio.to_thread(packages.inspect, raw)


def _kept(package: Package, stored_as: str) -> dict[str, Any]:
    info = contract.PackageInfo(
        sha256=package.sha256,
        size=package.size,
        unpacked_size=package.unpacked,
        object=stored_as,
        file_count=len(package.files),
    )
    return info.model_dump(mode="json", by_alias=True, exclude={"files"})


def _manifest(name: str, package: Package) -> Manifest:
    """Of a skill that is made because a package came for it."""
    if package.name is not None and package.name != name:
        message = f"SKILL.md calls the skill {package.name}, the address {name}."
        raise BadInput(Flaw(message, "renamed", "SKILL.md"))
    kind = by_name(SKILL)
    assert kind is not None  # noqa: S101 - one of our own modules
    spec: dict[str, Any] = {"description": package.description}
    for field in ("version", "author"):
        if isinstance(package.front_matter.get(field), str | int | float):
            spec[field] = package.front_matter[field]
    return of_kind(kind, {"metadata": {"name": name}, "spec": spec})
