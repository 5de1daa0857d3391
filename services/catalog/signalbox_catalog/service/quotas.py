"""Holds projects to what they may have in the catalog."""

import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain.resources import Resource
from signalbox_catalog.store import space
from signalbox_catalog.store.rows import size_of
from signalbox_catalog.store.space import CatalogSpace
from signalbox_common.contracts.auth import QuotaLimits, QuotaName
from signalbox_common.errors import QuotaExceeded
from signalbox_common.quotas import ProjectQuotas

KNOWN = 10_000
"""Projects whose space is remembered; those that were not written for longest are measured again."""
TRUSTED = 5.0
"""Seconds for which a project that was found full is not measured again: what is forgotten makes room."""

Change = tuple[Resource | None, Resource]
"""Before and after."""


class CatalogQuotas:
    """Exact, with the project locked, but for what was forgotten meanwhile: that is noticed when there would
    be too much. What a project had at its last version is remembered, and only what came after it looked up.
    """

    def __init__(self, quotas: ProjectQuotas) -> None:
        self._quotas = quotas
        self._known: OrderedDict[uuid.UUID, tuple[CatalogSpace, float]] = OrderedDict()

    async def check(
        self,
        connection: AsyncConnection,
        versions: Mapping[uuid.UUID, int],
        changes: Sequence[Change],
        *,
        first: bool,
    ) -> None:
        """Before these are stored, with their projects locked at those versions; `first`, if this transaction
        has stored nothing yet: only what is committed is remembered."""
        for project in sorted({after.place.project_id for _, after in changes}):
            own = [change for change in changes if change[1].place.project_id == project]
            now, limits = await self._now(connection, project, versions[project], own, remember=first)
            refusal = _exceeded(limits, now, own)
            if refusal is not None:
                raise refusal
            await self._check_packages(connection, project, limits.package_bytes, own)

    async def _now(
        self,
        connection: AsyncConnection,
        project: uuid.UUID,
        version: int,
        changes: Sequence[Change],
        *,
        remember: bool,
    ) -> tuple[CatalogSpace, QuotaLimits]:
        known, measured_at = self._known.get(project) or (None, -math.inf)
        if known is None:
            known, measured_at = await space.measure(connection, project, version), time.monotonic()
        now, row = await space.since(connection, project, known, version)
        limits = self._quotas.limits(row)
        if _exceeded(limits, now, changes) and time.monotonic() - measured_at > TRUSTED:
            now, measured_at = await space.measure(connection, project, version), time.monotonic()
        if remember:
            self._known[project] = (now, measured_at)
            self._known.move_to_end(project)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return now, limits

    @staticmethod
    async def _check_packages(
        connection: AsyncConnection, project: uuid.UUID, limit: int | None, changes: Sequence[Change]
    ) -> None:
        more = sum(_package(after) - _package(before) for before, after in changes)
        if limit is None or more <= 0:
            return
        used = await space.package_bytes(connection, project)
        if used + more > limit:
            raise QuotaExceeded(QuotaName.PACKAGE_BYTES, limit=limit, used=used)


def _exceeded(limits: QuotaLimits, now: CatalogSpace, changes: Sequence[Change]) -> QuotaExceeded | None:
    new = sum(before is None or before.deleted_at is not None for before, _ in changes)
    if new and limits.resources is not None and now.resources + new > limits.resources:
        return QuotaExceeded(QuotaName.RESOURCES, limit=limits.resources, used=now.resources)
    size = sum(size_of(after) for _, after in changes)
    if limits.catalog_bytes is not None and now.size + size > limits.catalog_bytes:
        return QuotaExceeded(QuotaName.CATALOG_BYTES, limit=limits.catalog_bytes, used=now.size)
    return None


def _package(resource: Resource | None) -> int:
    kept: Any = resource.status.get("package") if resource is not None else None
    return int(kept["size"]) if isinstance(kept, Mapping) else 0
