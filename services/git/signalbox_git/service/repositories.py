"""Repositories: added, looked at, changed, asked for and removed."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from signalbox_common import remote_urls
from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.git import RepositoryStatus
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Deferred, Outcome
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.storage import ProjectStorage
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.domain import Repository, forge_of
from signalbox_git.replies import repository_reply, tell, tell_of_repository
from signalbox_git.service.forges import host_of
from signalbox_git.service.kept_credentials import KeptCredentials, KeptKey, credential_of
from signalbox_git.service.operations import begin
from signalbox_git.store import host_credentials, projects, repositories

FETCH = "fetch"
"""The work of fetching one repository; its key is the id."""


class Repositories:
    def __init__(
        self, database: Database, worker: Worker, kept: KeptCredentials, storage: ProjectStorage
    ) -> None:
        self._database = database
        self._worker = worker
        self._kept = kept
        self._storage = storage

    # -- made and changed --------------------------------------------------------------------------------

    async def add(self, call: Call, ask: contract.AddRepository) -> Outcome[contract.Repository]:
        _check_policy(call, ask.policy, contract.DeliveryPolicy())
        given = credential_of(ask.credential)
        async with self._kept.stored_with_key(call, given, ask.signing_key) as (stored, credential, key):

            async def work(transaction: Transaction) -> contract.Repository:
                return repository_reply(await self._add(stored, transaction, ask, credential, key))

            return await stored.once(work)

    async def _add(
        self,
        call: Call,
        transaction: Transaction,
        ask: contract.AddRepository,
        credential: uuid.UUID | None,
        key: KeptKey | None,
    ) -> Repository:
        project = call.principal.project()
        now, is_deleted = await projects.moment(transaction, project)
        if is_deleted:
            raise errors.ProjectGone
        own = await repositories.size(transaction.connection, project)
        await self._storage.require(transaction.connection, project, own)
        url = remote_urls.parse(ask.url)
        _check_key(ask.credential, url)
        of_host = await host_credentials.for_host(transaction.connection, project, host_of(url))
        found = Repository(
            id=uuid7(),
            project_id=project,
            name=ask.name or _name_of(url),
            url=str(url),
            forge=ask.forge or (of_host.forge if of_host is not None else forge_of(url.host)),
            api_url=ask.api_url,
            default_branch=ask.default_branch,
            credential=credential,
            setup=ask.setup,
            protected=ask.protected,
            policy=ask.policy or contract.DeliveryPolicy(),
            signing_key=key.id if key is not None else None,
            signed_by=key.public if key is not None else None,
            created_by=call.principal.user_id,
            created_at=now,
            updated_at=now,
        )
        if not await repositories.add(transaction, found):
            raise errors.RepositoryExists
        tell(
            transaction,
            project,
            contract.RepositoryAdded(repository=found.id, name=found.name, url=found.url),
        )
        await self._worker.put(transaction, FETCH, str(found.id), project=project)
        return found

    async def update(self, call: Call, ask: contract.UpdateRepository) -> Outcome[contract.Repository]:
        given = credential_of(ask.credential)
        async with self._kept.stored_with_key(call, given, ask.signing_key) as (stored, credential, key):

            async def work(transaction: Transaction) -> contract.Repository:
                return repository_reply(await self._update(stored, transaction, ask, credential, key))

            return await stored.once(work)

    async def _update(
        self,
        call: Call,
        transaction: Transaction,
        ask: contract.UpdateRepository,
        credential: uuid.UUID | None,
        key: KeptKey | None,
    ) -> Repository:
        project = call.principal.project()
        now, _ = await projects.moment(transaction, project)
        # As workers do: the row of work first.
        await self._worker.put(transaction, FETCH, str(ask.repository), project=project, soonest=True)
        found = await repositories.lock(transaction, project, ask.repository)
        if found is None:
            raise errors.RepositoryNotFound
        _check_policy(call, ask.policy, found.policy)
        changed = replace(found, **_named(ask))
        if key is not None or ask.remove_signing_key:
            signed_by = key.public if key is not None else None
            changed = replace(changed, signing_key=key.id if key is not None else None, signed_by=signed_by)
        _check_key(ask.credential, remote_urls.parse(changed.url))
        if credential is not None or ask.remove_credential:
            changed = replace(changed, credential=credential)
        keeps = changed.credential is not None and changed.credential == found.credential
        if keeps and (_host_of(changed.url) != _host_of(found.url) or changed.api_url != found.api_url):
            raise errors.CredentialNeeded
        if ask.forget_host_keys or changed.url != found.url:
            changed = replace(changed, host_keys=None)
        if changed.url != found.url:
            changed = replace(changed, head=None, default_branch=ask.default_branch)
        if changed == found:
            raise errors.NothingToChange
        changed = replace(changed, updated_at=now)
        if await repositories.is_taken(transaction, changed):
            raise errors.RepositoryExists
        await repositories.save(transaction, changed)
        tell_of_repository(transaction, changed)
        if found.credential not in (None, changed.credential):
            self._kept.delete_after(transaction, found.credential)
        if found.signing_key not in (None, changed.signing_key):
            self._kept.delete_after(transaction, found.signing_key)
        return changed

    async def delete(self, call: Call, command: contract.DeleteRepository) -> Empty:
        """What is on the disk goes when nobody uses it any more."""
        project = call.principal.project()
        found = await repositories.lock(call.transaction, project, command.repository)
        if found is None:
            raise errors.RepositoryNotFound
        now, _ = await projects.moment(call.transaction, project)
        await repositories.save(
            call.transaction, replace(found, deleted_at=now, credential=None, signing_key=None)
        )
        tell(call.transaction, project, contract.RepositoryDeleted(repository=found.id))
        size = await repositories.size(call.transaction.connection, project)
        await self._storage.measure(call.transaction, project, size)
        self._kept.delete_after(call.transaction, found.credential)
        self._kept.delete_after(call.transaction, found.signing_key)
        return Empty()

    async def fetch(self, call: Call, command: contract.FetchRepository) -> Deferred:
        project = call.principal.project()
        found = await repositories.lock(call.transaction, project, command.repository)
        if found is None:
            raise errors.RepositoryNotFound
        await begin(call, self._worker, found.id, contract.FetchAction(), command_id=call.command_id)
        return Deferred(resource=str(found.id))

    # -- looked at -----------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetRepository) -> contract.Repository:
        project = call.principal.project()
        async with self._database.reading() as connection:
            if query.repository is not None:
                found = await repositories.get(connection, project, query.repository)
            elif query.name is not None:
                found = await repositories.called(connection, project, query.name)
            else:
                found = None
        if found is None:
            raise errors.RepositoryNotFound
        return repository_reply(found)

    async def page(self, call: Call, query: contract.ListRepositories) -> contract.RepositoryPage:
        async with self._database.reading() as connection:
            found = await repositories.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                before=read_id_cursor(query.cursor),
            )
        replies = [repository_reply(each) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.id))
        return contract.RepositoryPage(items=items, next_cursor=cursor)

    async def place(self, _call: Call, query: contract.FindRepository) -> contract.RepositoryPlace:
        async with self._database.reading() as connection:
            project = await repositories.place(connection, query.repository)
        if project is None:
            raise errors.RepositoryNotFound
        return contract.RepositoryPlace(project=project)


def _named(ask: contract.UpdateRepository) -> Mapping[str, Any]:
    """What is said of the record itself."""
    names = ("name", "url", "forge", "default_branch", "setup", "protected", "api_url", "policy")
    found = {name: getattr(ask, name) for name in names if getattr(ask, name) is not None}
    return found | ({"status": RepositoryStatus.PENDING} if "url" in found else {})


def _check_policy(
    call: Call, policy: contract.DeliveryPolicy | None, before: contract.DeliveryPolicy
) -> None:
    """Else whoever may not let out what was found would change the policy."""
    role = call.principal.project_role
    is_maintainer = role is not None and role.includes(ProjectRole.MAINTAINER)
    if policy is not None and policy.lets_out_more(before) and not is_maintainer:
        raise errors.MaintainerNeeded


def _name_of(url: remote_urls.RemoteUrl) -> str:
    kept = "".join(each for each in url.name if each.isalnum() or each in "._-").lstrip(".-")
    return kept[:100] or "repository"


def _check_key(given: contract.RepositoryCredential | None, url: remote_urls.RemoteUrl) -> None:
    if given is not None and given.private_key is not None and url.scheme is not remote_urls.Scheme.SSH:
        raise errors.KeyNeedsSsh


def _host_of(url: str) -> tuple[str, str, int]:
    parsed = remote_urls.parse(url)
    return parsed.scheme, parsed.host, parsed.port
