"""Users, for administrators."""

import uuid
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Message
from signalbox_gateway.errors import RoleWithoutProject
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.pages import JOIN, NEW_PASSWORD, address_of
from signalbox_gateway.routes.here import ClientsHere, Here, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/users", "users")

_NOT_KEPT = {"Cache-Control": "no-store"}


class UserChange(BaseModel):
    """Whatever is given is set; `active: false` ends every session and token of the user at once."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    email: contract.Email | None = None
    display_name: contract.DisplayName | None = None
    role: contract.PlatformRole | None = None
    active: bool | None = None


@routes.on("GET", "", contract.ListUsers)
async def list_users(here: Here, page: Annotated[contract.ListUsers, Query()]) -> Response:
    """Newest first; `q` looks in names and addresses."""
    return await here.send(page)


class InvitationLink(contract.Invitation):
    link: str
    """For whoever is invited; it is good once, and shown here alone."""
    token: str
    mailed: bool


class NewInvitation(contract.NewInvitation):
    """Into a project, which takes its owner; or else into the installation, which takes an administrator."""

    project_id: uuid.UUID | None = None
    role: contract.ProjectRole | None = None


class PasswordResetLink(Message):
    link: str
    """For the person; it is good once, and shown here alone."""
    token: str
    username: str
    expires_at: datetime
    mailed: bool


class NewPasswordReset(Message):
    mail: bool = False
    """Also by mail, where the installation sends any."""


@routes.on(
    "POST",
    "/invitations",
    contract.CreateInvitation,
    contract.CreateProjectInvitation,
    reply=InvitationLink,
    status=201,
)
async def create_invitation(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewInvitation
) -> Response:
    """A link that somebody registers with, once."""
    here = Sender(request, clients, asker, body.project_id)
    said = body.model_dump(include=set(contract.NewInvitation.model_fields))
    if body.project_id is not None:
        role = {} if body.role is None else {"role": body.role}
        return await invited(here, contract.CreateProjectInvitation(**said, **role))
    if body.role is not None:
        raise RoleWithoutProject
    return await invited(here, contract.CreateInvitation(**said))


@routes.on("GET", "/invitations", contract.ListInvitations)
async def list_invitations(here: Here, page: Annotated[contract.ListInvitations, Query()]) -> Response:
    """All of the installation, newest first."""
    return await here.send(page)


@routes.on("DELETE", "/invitations/{invitation_id}", contract.RevokeInvitation)
async def revoke_invitation(here: Here, invitation_id: uuid.UUID) -> Response:
    return await here.send(contract.RevokeInvitation(invitation_id=invitation_id))


@routes.on(
    "POST",
    "/{user_id}/password-reset",
    contract.CreatePasswordReset,
    reply=PasswordResetLink,
    status=201,
)
async def create_password_reset(
    here: Here, user_id: uuid.UUID, body: NewPasswordReset | None = None
) -> Response:
    """A link with which the person chooses a new password, once, within a day; earlier ones end."""
    mail = body is not None and body.mail
    made = await here.value(contract.CreatePasswordReset(user_id=user_id, mail=mail))
    answer = PasswordResetLink(
        link=f"{address_of(here.request)}{NEW_PASSWORD}#{made.token}",
        token=made.token,
        username=made.username,
        expires_at=made.expires_at,
        mailed=made.mailed,
    )
    return Response(answer.encode(), 201, media_type="application/json", headers=_NOT_KEPT)


async def invited(
    here: Sender, ask: contract.CreateInvitation | contract.CreateProjectInvitation
) -> Response:
    made: contract.CreatedInvitation = await here.value(ask)
    link = f"{address_of(here.request)}{JOIN}#{made.token}"
    answer = InvitationLink(**made.model_dump(), link=link)
    return Response(answer.encode(), 201, media_type="application/json", headers=_NOT_KEPT)


@routes.on("GET", "/{user_id}", contract.GetUser)
async def get_user(here: Here, user_id: uuid.UUID) -> Response:
    return await here.send(contract.GetUser(user_id=user_id))


@routes.on("PATCH", "/{user_id}", contract.UpdateUser)
async def update_user(here: Here, user_id: uuid.UUID, body: UserChange) -> Response:
    return await here.send(contract.UpdateUser(user_id=user_id, **body.model_dump()))


@routes.on("DELETE", "/{user_id}", contract.UpdateUser, status=204)
async def deactivate_user(here: Here, user_id: uuid.UUID) -> Response:
    """Users are never removed, for the audit log's sake: they are deactivated, and can be activated again."""
    return await here.send(contract.UpdateUser(user_id=user_id, active=False))
