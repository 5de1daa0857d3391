"""Members of a project."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import InProject
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/projects/{project_id}/members", "projects")


class RoleChange(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    role: contract.ProjectRole


@routes.on("GET", "", contract.ListMembers)
async def list_members(here: InProject, page: Annotated[contract.ListMembers, Query()]) -> Response:
    return await here.send(page)


@routes.on("POST", "", contract.AddMember, status=201)
async def add_member(here: InProject, body: contract.AddMember) -> Response:
    """For maintainers, by `userId` or `username`. Nobody gives a role above their own."""
    return await here.send(body)


@routes.on("PATCH", "/{user_id}", contract.ChangeMember)
async def change_member(here: InProject, user_id: uuid.UUID, body: RoleChange) -> Response:
    """For maintainers; what an owner is, only owners change. Takes effect everywhere within a second."""
    return await here.send(contract.ChangeMember(user_id=user_id, role=body.role))


@routes.on("DELETE", "/{user_id}", contract.RemoveMember)
async def remove_member(here: InProject, user_id: uuid.UUID) -> Response:
    """Anybody may leave but the last owner; to remove others takes a maintainer."""
    return await here.send(contract.RemoveMember(user_id=user_id))
