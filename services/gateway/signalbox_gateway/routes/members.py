"""Members of a project."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import (
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    errors,
    passed_on,
    router,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/projects/{project_id}/members", "projects")


class RoleChange(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    role: contract.ProjectRole


@routes.get("", response_model=contract.MemberPage, responses=errors(401, 403, 404, 422, 503))
async def list_members(
    project_id: uuid.UUID,
    asker: CurrentAsker,
    clients: ClientsHere,
    page: Annotated[contract.ListMembers, Query()],
) -> Response:
    return passed_on(await clients.query(asker, page, project=project_id))


@routes.post(
    "",
    status_code=201,
    response_model=contract.Member,
    responses=ACCEPTED | errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def add_member(
    project_id: uuid.UUID,
    request: Request,
    body: contract.AddMember,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """For maintainers, by `userId` or `username`. Nobody gives a role above their own."""
    return await clients.command(request, asker, body, status=201, project=project_id)


@routes.patch(
    "/{user_id}",
    response_model=contract.Member,
    responses=ACCEPTED | errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def change_member(
    project_id: uuid.UUID,
    user_id: uuid.UUID,
    request: Request,
    body: RoleChange,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """For maintainers; what an owner is, only owners change. Takes effect everywhere within a second."""
    command = contract.ChangeMember(user_id=user_id, role=body.role)
    return await clients.command(request, asker, command, status=200, project=project_id)


@routes.delete(
    "/{user_id}", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 409, 422, 503)
)
async def remove_member(
    project_id: uuid.UUID, user_id: uuid.UUID, request: Request, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    """Anybody may leave but the last owner; to remove others takes a maintainer."""
    command = contract.RemoveMember(user_id=user_id)
    return await clients.command(request, asker, command, status=204, project=project_id)
