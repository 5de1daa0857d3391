"""Invitations: links that are good once, for somebody who is to register."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from signalbox_common.contracts.auth.users import Email
from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Message, Query, Reply
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

InvitationDays = Annotated[int, Field(ge=1, le=90)]


class Invitation(Reply):
    id: uuid.UUID
    email: str | None
    """Whom alone it is for, if anybody."""
    project_id: uuid.UUID | None
    role: ProjectRole | None
    """What they become in that project."""
    invited_by: uuid.UUID
    created_at: datetime
    expires_at: datetime
    status: Literal["open", "used", "revoked", "expired"]
    used_by: uuid.UUID | None


class CreatedInvitation(Invitation):
    token: str
    """Shown here, and never again."""
    mailed: bool
    """Whether another link of it goes to that address."""


class NewInvitation(Message):
    """What all invitations say."""

    email: Email | None = None
    """Whom it is for; by default whoever has the link."""
    days: InvitationDays = 7
    """Until it ends."""
    mail: bool = False
    """Also sent to that address, where the installation sends mail."""


class CreateInvitation(NewInvitation, Ask[CreatedInvitation]):
    subject = "ask.auth.v1.create-invitation"
    admin = True
    in_person = True
    area = "users"
    refusals = {"registration_closed": 403, "no_mail": 409, "address_needed": 422}


class CreateProjectInvitation(NewInvitation, Ask[CreatedInvitation]):
    """Into a project: whoever registers with it is a member of that, as long as its inviter owns it."""

    subject = "ask.auth.v1.create-project-invitation"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.OWNER
    in_person = True
    area = "projects"
    refusals = {
        "registration_closed": 403,
        "no_mail": 409,
        "address_needed": 422,
        "too_many_invitations": 429,
    }

    role: ProjectRole = ProjectRole.DEVELOPER


class InvitationPage(Reply):
    items: tuple[Invitation, ...]
    next_cursor: str | None = None


class ListInvitations(Query[InvitationPage]):
    """All of the installation, newest first."""

    subject = "qry.auth.v1.list-invitations"
    admin = True
    area = "users"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class ListProjectInvitations(Query[InvitationPage]):
    subject = "qry.auth.v1.list-project-invitations"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.OWNER
    area = "projects"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class RevokeInvitation(Command[Empty]):
    """Any of the installation."""

    subject = "cmd.auth.v1.revoke-invitation"
    admin = True
    in_person = True
    area = "users"
    target = "invitation_id"
    refusals = {"invitation_not_found": 404}

    invitation_id: uuid.UUID


class RevokeProjectInvitation(Command[Empty]):
    subject = "cmd.auth.v1.revoke-project-invitation"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.OWNER
    in_person = True
    area = "projects"
    target = "invitation_id"
    refusals = {"invitation_not_found": 404}

    invitation_id: uuid.UUID
