"""Invitations into a project."""

import uuid
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import InProject
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.users import InvitationLink, invited

routes = Routes("/api/v1/projects/{project_id}/invitations", "projects")


class NewProjectInvitation(contract.NewInvitation):
    role: contract.ProjectRole = contract.ProjectRole.DEVELOPER


@routes.on("POST", "", contract.CreateProjectInvitation, reply=InvitationLink, status=201)
async def create_project_invitation(here: InProject, body: NewProjectInvitation) -> Response:
    """For owners: a link that somebody registers with, once, and is a member of the project then."""
    return await invited(here, contract.CreateProjectInvitation(**body.model_dump()))


@routes.on("GET", "", contract.ListProjectInvitations)
async def list_project_invitations(
    here: InProject, page: Annotated[contract.ListProjectInvitations, Query()]
) -> Response:
    return await here.send(page)


@routes.on("DELETE", "/{invitation_id}", contract.RevokeProjectInvitation)
async def revoke_project_invitation(here: InProject, invitation_id: uuid.UUID) -> Response:
    return await here.send(contract.RevokeProjectInvitation(invitation_id=invitation_id))
