"""Quotas: said by administrators, looked at by owners, and told to those who hold projects to them."""

from signalbox_auth import errors
from signalbox_auth.store import facts, projects
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import RoleTooLow
from signalbox_common.outcomes import Outcome
from signalbox_common.quotas import ProjectQuotas


class QuotaDesk:
    """Without grants for projects: administrators are no members of those."""

    def __init__(self, database: Database, quotas: ProjectQuotas) -> None:
        self._database = database
        self._quotas = quotas

    async def get(self, call: Call, query: contract.GetQuotas) -> contract.Quotas:
        who = call.principal
        async with self._database.reading() as connection:
            if who.role is PlatformRole.ADMIN:
                if not await projects.is_there(connection, query.project):
                    raise errors.NoSuchProject
            else:
                found = await projects.get(connection, query.project, who.user_id)
                if found is None:
                    raise errors.NoSuchProject
                if not found.role.includes(ProjectRole.OWNER):
                    raise RoleTooLow(ProjectRole.OWNER)
            return await self._quotas.of(connection, query.project)

    async def set(self, call: Call, command: contract.SetQuotas) -> Outcome[contract.Quotas]:
        """The project is held first, so that none is set for one that is being deleted."""
        project = command.project

        async def work(transaction: Transaction) -> contract.Quotas:
            if not await projects.hold(transaction, project):
                raise errors.NoSuchProject
            known = await self._quotas.lock(transaction, project)
            changed = contract.QuotasChanged(
                project=project, limits=command.limits, given=command.given, version=known.version + 1
            )
            await self._quotas.save(transaction, changed)
            facts.record(transaction, changed)
            return await self._quotas.of(transaction.connection, project)

        return await call.within(project).once(work)
