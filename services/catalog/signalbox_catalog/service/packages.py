"""What skills carry."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from signalbox_catalog.domain import packages
from signalbox_catalog.domain.kinds import by_name
from signalbox_catalog.domain.manifests import of_kind
from signalbox_catalog.domain.packages import Package
from signalbox_catalog.domain.resources import Key, Manifest, Resource
from signalbox_catalog.errors import BadInput, PackageNotFound, UploadNotFound
from signalbox_catalog.service.access import own_place
from signalbox_catalog.service.finding import living_one
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.replies import reply_of
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.service.writing import Wish, Writer, WriteResult
from signalbox_catalog.store import resources, usage
from signalbox_common import telemetry
from signalbox_common.bus import Call
from signalbox_common.bus.objects import Bucket, ObjectNotFound
from signalbox_common.contracts import catalog as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_manifests import Flaw

log = telemetry.get_logger()

AT_ONCE = 2
"""Packages that are looked through at the same time: each is in memory as a whole."""
SKILL = "Skill"
_FRONT_MATTER: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("version", "author"), (str, int, float)),
    **dict.fromkeys(("tags", "bindShells", "tools"), (list,)),
    **dict.fromkeys(("mcpServers", "provider", "source"), (dict,)),
}
"""What a SKILL.md may say of a skill, and how; what it says in other ways stays in the package."""


@dataclass(frozen=True)
class OpenedPackage:
    """One that was looked through, and what a skill knows of it."""

    name: str
    """Of the skill."""
    package: Package
    status: Mapping[str, Any]

    @property
    def warning(self) -> str | None:
        if self.package.name in (None, self.name):
            return None
        return f"Its SKILL.md calls it {self.package.name}."


class Packages:
    def __init__(
        self,
        database: Database,
        bucket: Bucket,
        vault: Vault,
        quotas: CatalogQuotas,
        limiter: ProjectLimiter,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._bucket = bucket
        self._vault = vault
        self._quotas = quotas
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

        replaced: list[str] = []

        async def work(transaction: Transaction) -> contract.Resource:
            replaced.clear()
            writer = Writer(self._vault, self._quotas, transaction, call.principal.user_id)
            await writer.lock([place])
            current = await resources.get(transaction.connection, key)
            if current is None:
                current = (await writer.write([Wish(manifest, place)], {}, {}))[0].after
            replaced.extend(_objects_of(current))
            return reply_of(await writer.set_status(current, {**current.status, **status}))

        async with self._limiter.slots([place.project_id]):
            outcome = await call.once(work)
        await self.clear([stored_as, *replaced])
        return outcome

    async def clear(self, stored: Sequence[str]) -> None:
        """Those of them that nothing refers to, after the commit; what stays here goes with the hour."""
        if not stored:
            return
        try:
            async with self._database.reading() as connection:
                kept = await usage.of_objects(connection, stored)
            for stored_as in set(stored) - kept:
                await self._bucket.delete(stored_as)
        except Exception as error:  # noqa: BLE001 - what was asked for is done, whatever becomes of this
            log.warning("packages are cleared away later", reason=repr(error)[:200])

    async def open(self, uploaded: Sequence[contract.PackagedSkill]) -> list[OpenedPackage]:
        """Raises BadInput for all that is wrong with any of them."""
        opened: list[OpenedPackage] = []
        flaws: list[Flaw] = []
        for each in uploaded:
            stored_as = each.object.get_secret_value()
            try:
                package = await self._looked_through(stored_as)
            except ObjectNotFound as error:
                raise UploadNotFound from error
            except BadInput as error:
                flaws += [_of(each.name, flaw) for flaw in error.flaws]
            else:
                opened.append(OpenedPackage(each.name, package, {"package": _kept(package, stored_as)}))
        if flaws:
            raise BadInput(*flaws)
        return opened

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


def replaced_by(done: WriteResult) -> list[str]:
    """Objects that were of that resource, and are not any more."""
    before = _objects_of(done.before) if done.before is not None else []
    return [each for each in before if each not in _objects_of(done.after)]


def _objects_of(resource: Resource) -> list[str]:
    kept = resource.status.get("package")
    return [str(kept["object"])] if isinstance(kept, Mapping) else []


def _of(skill: str, flaw: Flaw) -> Flaw:
    return Flaw(flaw.message, flaw.code, f"{skill}/{flaw.field}" if flaw.field else skill)


def described(opened: OpenedPackage) -> Manifest:
    """The skill that a package is without a document beside it, as its SKILL.md describes it."""
    front = opened.package.front_matter
    fields: dict[str, Any] = {"description": opened.package.description}
    for name, kinds in _FRONT_MATTER.items():
        if isinstance(front.get(name), kinds) and not isinstance(front.get(name), bool):
            fields[name] = front[name]
    metadata: dict[str, Any] = {"name": opened.name}
    if isinstance(front.get("displayName"), str):
        metadata["displayName"] = front["displayName"]
    kind = by_name(SKILL)
    assert kind is not None  # noqa: S101 - one of our own modules
    try:
        manifest = of_kind(kind, {"metadata": metadata, "spec": fields})
    except BadInput as error:
        raise BadInput(*(_of(opened.name, flaw) for flaw in error.flaws)) from None
    return replace(manifest, may_be_new=True)


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
