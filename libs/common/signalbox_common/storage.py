"""What a project has in stores and on disks: each service that keeps something tells the others how much."""

import uuid
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.bus.calls import FactCall
from signalbox_common.contracts.auth import QuotaName
from signalbox_common.contracts.events import StorageMeasured
from signalbox_common.db import Transaction
from signalbox_common.errors import QuotaExceeded
from signalbox_common.quotas import ProjectQuotas

STORAGE_V1 = """
    create table {schema}.storage (
        project_id uuid,
        service text,
        bytes bigint not null,
        version bigint not null,
        primary key (project_id, service)
    )
"""


def add_storage(execute: Callable[[str], None], schema: str) -> None:
    """The table, for a migration."""
    execute(STORAGE_V1.format(schema=schema))


class ProjectStorage:
    """What this service keeps is looked at where it lies; of others, what they have told last."""

    def __init__(self, schema: str, quotas: ProjectQuotas) -> None:
        self._schema = schema
        self._quotas = quotas
        table = f"{schema}.storage"
        self._measure = text(
            f"insert into {table} (project_id, service, bytes, version) "  # noqa: S608 - a name of ours
            "values (:project, :service, :bytes, 1) on conflict (project_id, service) do update "
            "set bytes = excluded.bytes, version = storage.version + 1 "
            "where storage.bytes <> excluded.bytes returning version"
        )
        self._hear = text(
            f"insert into {table} (project_id, service, bytes, version) "  # noqa: S608 - as above
            "values (:project, :service, :bytes, :version) on conflict (project_id, service) do update "
            "set bytes = excluded.bytes, version = excluded.version where storage.version < excluded.version"
        )
        self._elsewhere = text(
            f"select coalesce(sum(bytes), 0) from {table} "  # noqa: S608 - as above
            "where project_id = :project and service <> :service"
        )

    async def measure(self, transaction: Transaction, project: uuid.UUID, size: int) -> None:
        """Told where it is not what was told last."""
        values = {"project": project, "service": self._schema, "bytes": size}
        version: int | None = (await transaction.connection.execute(self._measure, values)).scalar()
        if version is not None:
            event = StorageMeasured(project=project, bytes=size, version=version)
            outbox.emit(transaction, self._schema, event, project=None)

    async def heard(self, call: FactCall, event: StorageMeasured) -> None:
        """Also of what we have told ourselves, which is no news."""
        service = call.subject.split(".")[2]
        values = {"project": event.project, "service": service, "bytes": event.bytes}
        await call.transaction.connection.execute(self._hear, values | {"version": event.version})

    async def elsewhere(self, connection: AsyncConnection, project: uuid.UUID) -> int:
        """At the other services."""
        values = {"project": project, "service": self._schema}
        return int((await connection.execute(self._elsewhere, values)).scalar_one())

    async def left(self, connection: AsyncConnection, project: uuid.UUID) -> int | None:
        """What this service may keep in all; None where there is no bound."""
        quota = (await self._quotas.of(connection, project)).limits.storage_bytes
        return None if quota is None else max(0, quota - await self.elsewhere(connection, project))

    async def exceeded(self, connection: AsyncConnection, project: uuid.UUID, own: int) -> QuotaExceeded:
        """As whoever wants more than there is left is told; `own` is what this service keeps."""
        limit = (await self._quotas.of(connection, project)).limits.storage_bytes or 0
        used = own + await self.elsewhere(connection, project)
        return QuotaExceeded(QuotaName.STORAGE_BYTES, limit=limit, used=used)

    async def require(self, connection: AsyncConnection, project: uuid.UUID, own: int) -> None:
        """Raises where nothing is left; how much it will be is not known yet."""
        left = await self.left(connection, project)
        if left is not None and own >= left:
            raise await self.exceeded(connection, project, own)
