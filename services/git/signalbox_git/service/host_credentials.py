"""Credentials of a project for whole hosts, and what their forges show to whoever has them."""

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Outcome
from signalbox_git import errors
from signalbox_git.domain import HostCredential, forge_of
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.replies import host_credential_reply
from signalbox_git.service.forges import Forges
from signalbox_git.service.kept_credentials import KeptCredentials, revealed
from signalbox_git.service.sources import Sources
from signalbox_git.store import host_credentials, projects


class HostCredentials:
    def __init__(self, database: Database, kept: KeptCredentials, sources: Sources, forges: Forges) -> None:
        self._database = database
        self._kept = kept
        self._sources = sources
        self._forges = forges

    async def add(self, call: Call, ask: contract.AddGitCredential) -> Outcome[contract.GitCredential]:
        given = Credential(revealed(ask.token), ask.username)
        async with self._kept.stored(call, given) as (stored, credential):

            async def work(transaction: Transaction) -> contract.GitCredential:
                project = call.principal.project()
                now, is_deleted = await projects.moment(transaction, project)
                if is_deleted:
                    raise errors.ProjectGone
                found = HostCredential(
                    id=uuid7(),
                    project_id=project,
                    host=ask.host,
                    forge=ask.forge or forge_of(ask.host),
                    api_url=ask.api_url,
                    username=ask.username,
                    credential=credential or uuid7(),
                    created_by=call.principal.user_id,
                    created_at=now,
                )
                await self.put(transaction, found)
                return host_credential_reply(found)

            return await stored.once(work)

    async def put(self, transaction: Transaction, found: HostCredential) -> None:
        """In the place of the one that was there for the host."""
        before = await host_credentials.for_host(transaction.connection, found.project_id, found.host)
        await host_credentials.put(transaction, found)
        if before is not None:
            self._kept.delete_after(transaction, before.credential)

    async def delete(self, call: Call, command: contract.DeleteGitCredential) -> Empty:
        project = call.principal.project()
        found = await host_credentials.get(call.transaction.connection, project, command.credential)
        if found is None:
            raise errors.CredentialNotFound
        await host_credentials.remove(call.transaction, project, found.id)
        self._kept.delete_after(call.transaction, found.credential)
        return Empty()

    async def of_project(self, call: Call, _query: contract.ListGitCredentials) -> contract.GitCredentialList:
        async with self._database.reading() as connection:
            found = await host_credentials.of_project(connection, call.principal.project())
        return contract.GitCredentialList(items=tuple(map(host_credential_reply, found)))

    async def place(self, _call: Call, query: contract.FindGitCredential) -> contract.GitCredentialPlace:
        async with self._database.reading() as connection:
            project = await host_credentials.place(connection, query.credential)
        if project is None:
            raise errors.CredentialNotFound
        return contract.GitCredentialPlace(project=project)

    async def visible(
        self, call: Call, ask: contract.ListVisibleRepositories
    ) -> contract.VisibleRepositoryList:
        project = call.principal.project()
        async with self._database.reading() as connection:
            found = await host_credentials.get(connection, project, ask.credential)
        if found is None:
            raise errors.CredentialNotFound
        credential = await self._sources.revealed(found.credential)
        try:
            seen = await self._forges.visible(found, credential, ask.limit)
        except RemoteRefused as refusal:
            kind = errors.ForgeAway if refusal.passes else errors.ForgeRefuses
            raise kind(refusal.detail) from refusal
        return contract.VisibleRepositoryList(
            items=tuple(
                contract.VisibleRepository(
                    name=each.name,
                    url=each.url,
                    default_branch=each.default_branch,
                    visibility="private" if each.private else "public",
                )
                for each in seen
            )
        )
