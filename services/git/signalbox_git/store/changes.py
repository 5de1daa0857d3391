"""Which change sets and bundles there are: a digest stands for one of them."""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_ADD = text(
    "insert into git.changes (project_id, sha256, size, stored_at, bundled) "
    "values (:project, :sha256, :size, git.clock(), :bundled) "
    "on conflict (project_id, sha256) do update set stored_at = excluded.stored_at"
)
_FIND = text("select size, bundled from git.changes where project_id = :project and sha256 = :sha256")
_HOLD = text(
    "select size from git.changes where project_id = :project and sha256 = :sha256 and bundled = :bundled "
    "for key share"
)
_OLD = text(
    """
    delete from git.changes where stored_at < git.clock() - :hours * interval '1 hour'
    and not exists (
        select from git.change_deliveries
        where change_deliveries.project_id = changes.project_id and change_deliveries.changes = changes.sha256
    )
    returning project_id, sha256
    """
)


_LOCK = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")


async def lock(transaction: Transaction, project: uuid.UUID, sha256: str) -> None:
    """Whoever stores one and whoever removes it do that one after the other."""
    await transaction.connection.execute(_LOCK, {"name": f"changes/{project}/{sha256}"})


@dataclass(frozen=True)
class StoredChanges:
    size: int
    bundled: bool
    """Whether it is a bundle."""


async def add(
    transaction: Transaction, project: uuid.UUID, sha256: str, size: int, *, bundled: bool = False
) -> None:
    """There already, it is as if it had come now."""
    values = {"project": project, "sha256": sha256, "size": size, "bundled": bundled}
    await transaction.connection.execute(_ADD, values)


async def find(connection: AsyncConnection, project: uuid.UUID, sha256: str) -> StoredChanges | None:
    row = (await connection.execute(_FIND, {"project": project, "sha256": sha256})).first()
    return StoredChanges(row.size, row.bundled) if row is not None else None


async def hold(transaction: Transaction, project: uuid.UUID, sha256: str, *, bundled: bool = False) -> bool:
    """Whether it is there, to the end of the transaction."""
    values = {"project": project, "sha256": sha256, "bundled": bundled}
    return (await transaction.connection.execute(_HOLD, values)).first() is not None


async def remove_old(transaction: Transaction, hours: float) -> list[tuple[uuid.UUID, str]]:
    """Those that no delivery names."""
    rows = await transaction.connection.execute(_OLD, {"hours": hours})
    return [(row.project_id, row.sha256) for row in rows]
