"""What one project may have and use, as each service that holds projects to it knows it."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.bus.calls import FactCall
from signalbox_common.contracts.auth import QuotaLimits, QuotaName, Quotas, QuotasChanged
from signalbox_common.db import Transaction

QUOTAS_V1 = """
    create table {schema}.quotas (
        project_id uuid primary key,
        limits jsonb not null default '{{}}',
        given text[] not null default '{{}}',
        version bigint not null default 0
    )
"""


def add_quotas(execute: Callable[[str], None], schema: str) -> None:
    """The table, for a migration."""
    execute(QUOTAS_V1.format(schema=schema))


class ProjectQuotas:
    """Those of the installation, and what was set for a project beside them."""

    def __init__(self, schema: str, defaults: QuotaLimits) -> None:
        self.defaults = defaults
        where = "where project_id = :project"
        self._get = text(f"select limits, given, version from {schema}.quotas {where}")  # noqa: S608 - a name of ours
        self._note = text(
            f"insert into {schema}.quotas (project_id) values (:project) on conflict do nothing"  # noqa: S608 - as above
        )
        self._lock = text(f"select limits, given, version from {schema}.quotas {where} for update")  # noqa: S608 - as above
        self._save = text(
            f"insert into {schema}.quotas (project_id, limits, given, version) "  # noqa: S608 - as above
            "values (:project, cast(:limits as jsonb), :given, :version) on conflict (project_id) do update "
            "set limits = excluded.limits, given = excluded.given, version = excluded.version "
            "where quotas.version < excluded.version"
        )

    async def of(self, connection: AsyncConnection, project: uuid.UUID) -> Quotas:
        row = (await connection.execute(self._get, {"project": project})).first()
        if row is None:
            return Quotas(project_id=project, limits=self.defaults)
        given = tuple(map(QuotaName, row.given))
        limits = self.limits({"limits": row.limits, "given": row.given})
        return Quotas(project_id=project, limits=limits, given=given, version=row.version)

    def limits(self, row: Mapping[str, Any] | None) -> QuotaLimits:
        """As that row has them, which was read with something else."""
        if row is None:
            return self.defaults
        given = tuple(map(QuotaName, row["given"]))
        return self.defaults.changed(QuotaLimits.model_validate(row["limits"]), given)

    async def lock(self, transaction: Transaction, project: uuid.UUID) -> Quotas:
        """To the end of the transaction: what is counted meanwhile is counted by one at a time."""
        await transaction.connection.execute(self._note, {"project": project})
        await transaction.connection.execute(self._lock, {"project": project})
        return await self.of(transaction.connection, project)

    async def save(self, transaction: Transaction, known: QuotasChanged) -> None:
        """What is not newer than what is known is old news."""
        values = {
            "project": known.project,
            "limits": known.limits.model_dump_json(by_alias=True),
            "given": [str(name) for name in known.given],
            "version": known.version,
        }
        await transaction.connection.execute(self._save, values)

    async def changed(self, call: FactCall, event: QuotasChanged) -> None:
        await self.save(call.transaction, event)
