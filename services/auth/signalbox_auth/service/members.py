"""Members of projects, and the service accounts among them."""

import uuid
from dataclasses import replace

from signalbox_auth import errors
from signalbox_auth.domain.projects import Member, Project, check_may_set
from signalbox_auth.domain.users import new_service_account
from signalbox_auth.store import facts
from signalbox_auth.store import members as rows
from signalbox_auth.store import projects as project_rows
from signalbox_auth.store import tokens as token_rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.auth import QuotaName
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import QuotaExceeded
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.quotas import ProjectQuotas


class Members:
    def __init__(self, database: Database, quotas: ProjectQuotas) -> None:
        self._database = database
        self._quotas = quotas

    async def page(self, call: Call, query: contract.ListMembers) -> contract.MemberPage:
        async with self._database.reading() as connection:
            found = await rows.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                before=read_id_cursor(query.cursor),
            )
        items, cursor = cut([_reply(m) for m in found], query.limit, lambda m: id_cursor(m.user_id))
        return contract.MemberPage(items=items, next_cursor=cursor)

    async def add(self, call: Call, command: contract.AddMember) -> contract.Member:
        transaction = call.transaction
        project = await _locked(call)
        check_may_set(project.role, command.role)
        user = None
        if command.user_id is not None:
            user = await user_rows.get(transaction.connection, command.user_id)
        elif command.username is not None:
            user = await user_rows.by_username(transaction.connection, command.username)
        if user is None or not user.active or user.kind == "service":
            raise errors.UserNotFound  # a service account stays with the project that made it
        added_at = await rows.add(transaction, project.id, user.id, command.role)
        if added_at is None:
            raise errors.AlreadyMember
        await user_rows.outdate_grants(transaction, user.id)
        event = contract.MemberAdded(user_id=user.id, role=command.role)
        facts.record(transaction, event, project=project.id)
        return _reply(Member(user.id, user.username, user.display_name, user.kind, command.role, added_at))

    async def change(self, call: Call, command: contract.ChangeMember) -> contract.Member:
        transaction = call.transaction
        project = await _locked(call)
        member = await _member(transaction, project, command.user_id)
        check_may_set(project.role, member.role, command.role)
        if command.role is ProjectRole.OWNER and member.kind == "service":
            raise errors.StaysAtHome
        if command.role is not ProjectRole.OWNER:
            await _check_may_lose(transaction, project, member)
        await rows.set_role(transaction, project.id, member.user_id, command.role)
        await user_rows.outdate_grants(transaction, member.user_id)
        event = contract.MemberChanged(user_id=member.user_id, role=command.role)
        facts.record(transaction, event, project=project.id)
        return _reply(replace(member, role=command.role))

    async def remove(self, call: Call, command: contract.RemoveMember) -> Empty:
        transaction = call.transaction
        project = await _locked(call)
        member = await _member(transaction, project, command.user_id)
        if member.user_id != call.principal.user_id:
            check_may_set(project.role, ProjectRole.MAINTAINER, member.role)
        await _check_may_lose(transaction, project, member)
        if member.kind == "service":
            await _retire(transaction, member.user_id)
        await _remove(transaction, project, member.user_id)
        return Empty()

    # -- service accounts --------------------------------------------------------------------------

    async def create_account(
        self, call: Call, command: contract.CreateServiceAccount
    ) -> contract.ServiceAccount:
        transaction = call.transaction
        project = await _locked(call)
        check_may_set(project.role, command.role)
        if command.role is ProjectRole.OWNER:
            raise errors.StaysAtHome
        limit = (await self._quotas.of(transaction.connection, project.id)).limits.api_tokens
        used = await rows.count_of_accounts(transaction.connection, project.id)
        if limit is not None and used >= limit:
            raise QuotaExceeded(QuotaName.API_TOKENS, limit=limit, used=used)
        account = new_service_account(command.name, project.id, project.slug)
        await user_rows.add(transaction, account, None)
        await rows.add(transaction, project.id, account.id, command.role)
        event = contract.MemberAdded(user_id=account.id, role=command.role)
        facts.record(transaction, event, project=project.id)
        return contract.ServiceAccount(
            id=account.id,
            name=command.name,
            username=account.username,
            role=command.role,
            created_at=account.created_at,
        )

    async def accounts(self, call: Call, _query: contract.ListServiceAccounts) -> contract.ServiceAccountPage:
        async with self._database.reading() as connection:
            found = await rows.service_accounts(connection, call.principal.project())
        items = [
            contract.ServiceAccount(
                id=member.user_id,
                name=member.display_name,
                username=member.username,
                role=member.role,
                created_at=member.added_at,
            )
            for member in found
        ]
        return contract.ServiceAccountPage(items=tuple(items))

    async def delete_account(self, call: Call, command: contract.DeleteServiceAccount) -> Empty:
        transaction = call.transaction
        project = await _locked(call)
        account = await rows.account(transaction.connection, project.id, command.account_id)
        if account is None:
            raise errors.AccountNotFound
        check_may_set(project.role, account.role)
        await _retire(transaction, account.user_id)
        await _remove(transaction, project, account.user_id)
        return Empty()


async def _locked(call: Call) -> Project:
    """The project with the asker's role of this moment, which may be lower than the grant's."""
    project = await project_rows.lock(call.transaction, call.principal.project(), call.principal.user_id)
    if project is None:
        raise errors.NoSuchProject
    return project


async def _member(transaction: Transaction, project: Project, user_id: uuid.UUID) -> Member:
    member = await rows.get(transaction.connection, project.id, user_id)
    if member is None:
        raise errors.MemberNotFound
    return member


async def _check_may_lose(transaction: Transaction, project: Project, member: Member) -> None:
    """The project is locked, so that two owners cannot leave at the same time."""
    if project.personal_of == member.user_id:
        raise errors.PersonalProject
    if member.role is not ProjectRole.OWNER:
        return
    if set(await rows.owners(transaction.connection, project.id)) <= {member.user_id}:
        raise errors.LastOwner


async def _retire(transaction: Transaction, account_id: uuid.UUID) -> None:
    await token_rows.revoke(transaction, account_id)
    await user_rows.deactivate(transaction, account_id)


async def _remove(transaction: Transaction, project: Project, user_id: uuid.UUID) -> None:
    await rows.remove(transaction, project.id, user_id)
    await user_rows.outdate_grants(transaction, user_id)
    facts.record(transaction, contract.MemberRemoved(user_id=user_id), project=project.id)


def _reply(member: Member) -> contract.Member:
    return contract.Member(
        user_id=member.user_id,
        username=member.username,
        display_name=member.display_name,
        kind=member.kind,
        role=member.role,
        added_at=member.added_at,
    )
