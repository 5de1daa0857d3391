"""Invitations: made by administrators, and by owners into their project; taken by whoever registers."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal

from signalbox_auth import errors
from signalbox_auth.domain.invitations import MOST_IN_PROJECT, Invitation
from signalbox_auth.domain.links import OneTimeLink, Purpose
from signalbox_auth.domain.tokens import hash_of
from signalbox_auth.domain.users import User
from signalbox_auth.service.letters import Letters
from signalbox_auth.store import facts
from signalbox_auth.store import invitations as rows
from signalbox_auth.store import links as link_rows
from signalbox_auth.store import members as member_rows
from signalbox_auth.store import projects as project_rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, read_id_cursor

Registration = Literal["open", "invite", "closed"]


class Invitations:
    def __init__(self, database: Database, letters: Letters, registration: Registration) -> None:
        self._database = database
        self._letters = letters
        self._registration = registration

    # -- making them -------------------------------------------------------------------------------

    async def create(self, call: Call, ask: contract.CreateInvitation) -> contract.CreatedInvitation:
        return await self._create(call, ask, None, None)

    async def create_in_project(
        self, call: Call, ask: contract.CreateProjectInvitation
    ) -> contract.CreatedInvitation:
        transaction = call.transaction
        project = await project_rows.lock(transaction, call.principal.project(), call.principal.user_id)
        if project is None:
            raise errors.NoSuchProject
        if project.role is not ProjectRole.OWNER:
            raise errors.RoleTooLow
        if await rows.open_in(transaction.connection, project.id) >= MOST_IN_PROJECT:
            raise errors.TooManyInvitations
        return await self._create(call, ask, project.id, ask.role)

    async def _create(
        self, call: Call, wanted: contract.NewInvitation, project: uuid.UUID | None, role: ProjectRole | None
    ) -> contract.CreatedInvitation:
        if self._registration == "closed":
            raise errors.RegistrationClosed
        if wanted.mail:
            self._letters.check()
            if wanted.email is None:
                raise errors.AddressNeeded
        transaction, now = call.transaction, datetime.now(UTC)
        invitation = Invitation(
            id=uuid7(),
            email=wanted.email,
            project_id=project,
            role=role,
            invited_by=call.principal.user_id,
            created_at=now,
            expires_at=now + timedelta(days=wanted.days),
        )
        link = OneTimeLink.new(Purpose.INVITATION)
        await rows.add(transaction, invitation)
        await link_rows.add(
            transaction, link, invitation.expires_at, invitation_id=invitation.id, mailed=False
        )
        if wanted.mail:
            await self._letters.about_invitation(transaction, invitation.id)
        shown = _reply(invitation, now).model_dump()
        return contract.CreatedInvitation(**shown, token=link.token, mailed=wanted.mail)

    async def page(self, _call: Call, query: contract.ListInvitations) -> contract.InvitationPage:
        return await self._page(query.limit, query.cursor, None)

    async def page_in_project(
        self, call: Call, query: contract.ListProjectInvitations
    ) -> contract.InvitationPage:
        return await self._page(query.limit, query.cursor, call.principal.project())

    async def _page(
        self, limit: int, cursor: str | None, project: uuid.UUID | None
    ) -> contract.InvitationPage:
        async with self._database.reading() as connection:
            found = await rows.page(
                connection, project_id=project, limit=limit + 1, before=read_id_cursor(cursor)
            )
        now = datetime.now(UTC)
        items, following = cut([_reply(each, now) for each in found], limit, lambda each: id_cursor(each.id))
        return contract.InvitationPage(items=items, next_cursor=following)

    async def revoke(self, call: Call, command: contract.RevokeInvitation) -> Empty:
        if not await rows.revoke(call.transaction, command.invitation_id, None):
            raise errors.InvitationNotFound
        return Empty()

    async def revoke_in_project(self, call: Call, command: contract.RevokeProjectInvitation) -> Empty:
        project = await project_rows.lock(call.transaction, call.principal.project(), call.principal.user_id)
        if project is None:
            raise errors.NoSuchProject
        if project.role is not ProjectRole.OWNER:
            raise errors.RoleTooLow
        if not await rows.revoke(call.transaction, command.invitation_id, project.id):
            raise errors.InvitationNotFound
        return Empty()

    # -- taking them -------------------------------------------------------------------------------

    async def check(self, token: str | None, email: str) -> bool:
        """Before a password is hashed for it; answers whether it is known who is reached at that address."""
        if self._registration == "closed":
            raise errors.RegistrationClosed
        if token is None:
            if self._registration == "invite":
                raise errors.InvitationNeeded
            return False
        async with self._database.reading() as connection:
            link = await link_rows.find(connection, hash_of(token), Purpose.INVITATION)
            found = await rows.get(connection, link.invitation_id) if link and link.invitation_id else None
        if link is None or found is None or not found.fits(email, datetime.now(UTC)):
            raise errors.BadInvitation
        return link.mailed and found.email is not None

    async def take(self, transaction: Transaction, token: str, email: str) -> Invitation:
        """Held until the end: of all who come with it, one is the first. Who invites is still who may."""
        link = await link_rows.find(transaction.connection, hash_of(token), Purpose.INVITATION)
        found = await rows.lock(transaction, link.invitation_id) if link and link.invitation_id else None
        if found is None or not found.fits(email, datetime.now(UTC)):
            raise errors.BadInvitation
        inviter = await user_rows.get(transaction.connection, found.invited_by)
        if inviter is None or not inviter.active:
            raise errors.BadInvitation
        if found.project_id is None and inviter.role is not PlatformRole.ADMIN:
            raise errors.BadInvitation
        if found.project_id is not None:
            project = await project_rows.lock(transaction, found.project_id, inviter.id)
            if project is None or project.role is not ProjectRole.OWNER:
                raise errors.BadInvitation
        return found

    async def accept(self, transaction: Transaction, invitation: Invitation, user: User) -> None:
        await rows.set_used(transaction, invitation.id, user.id)
        if invitation.project_id is not None and invitation.role is not None:
            await member_rows.add(transaction, invitation.project_id, user.id, invitation.role)
            event = contract.MemberAdded(user_id=user.id, role=invitation.role)
            facts.record(transaction, event, project=invitation.project_id)


def _reply(invitation: Invitation, now: datetime) -> contract.Invitation:
    return contract.Invitation(
        id=invitation.id,
        email=invitation.email,
        project_id=invitation.project_id,
        role=invitation.role,
        invited_by=invitation.invited_by,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
        status=invitation.status(now),
        used_by=invitation.used_by,
    )
