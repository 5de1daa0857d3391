"""How much of the catalog a project takes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_MEASURE = text(
    """
    select
        (select count(*) from catalog.resources where project_id = :project and deleted_at is null) as living,
        (select coalesce(sum(size), 0) from catalog.revisions where project_id = :project) as bytes
    """
)
_SINCE = text(
    """
    select quotas.limits, quotas.given, since.living, since.bytes
    from (
        select
            count(*) filter (where change in ('created', 'restored'))
                - count(*) filter (where change = 'deleted') as living,
            coalesce(sum(size), 0) as bytes
        from catalog.revisions
        where project_id = :project and version > :version
    ) as since
    left join catalog.quotas on quotas.project_id = :project
    """
)
_PACKAGES = text(
    """
    select coalesce(sum((status -> 'package' ->> 'size')::bigint), 0)
    from catalog.resources where project_id = :project and kind = 'Skill'
    """
)


@dataclass(frozen=True)
class CatalogSpace:
    """What a project had at one version of it."""

    version: int
    resources: int
    size: int
    """Bytes of all states that are kept."""


async def measure(connection: AsyncConnection, project: uuid.UUID, version: int) -> CatalogSpace:
    row = (await connection.execute(_MEASURE, {"project": project})).one()
    return CatalogSpace(version, row.living, int(row.bytes))


async def since(
    connection: AsyncConnection, project: uuid.UUID, known: CatalogSpace, version: int
) -> tuple[CatalogSpace, Mapping[str, Any] | None]:
    """What it has at that version, as far as nothing was forgotten meanwhile; and the row of its quotas."""
    row = (await connection.execute(_SINCE, {"project": project, "version": known.version})).one()
    quotas = None if row.limits is None else {"limits": row.limits, "given": row.given}
    return CatalogSpace(version, known.resources + row.living, known.size + int(row.bytes)), quotas


async def package_bytes(connection: AsyncConnection, project: uuid.UUID) -> int:
    """Of deleted ones as well, which can be restored."""
    return int((await connection.execute(_PACKAGES, {"project": project})).scalar_one())
