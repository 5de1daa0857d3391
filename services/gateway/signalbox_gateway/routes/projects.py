"""Projects."""

import re
import uuid
from typing import Annotated

from fastapi import Header, Query, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_common.errors import Invalid
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

routes = router("/api/v1/projects", "projects")

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=100, description="The `ETag` that the change is meant for."),
]
_ETAG = re.compile(r'"([0-9]{1,18})"')


class ProjectChange(BaseModel):
    """Whatever is given is set. The slug stays: it is the namespace of the project's resources."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    name: contract.ProjectName | None = None
    description: contract.Description | None = None


@routes.post(
    "",
    status_code=201,
    response_model=contract.Project,
    responses=ACCEPTED | errors(400, 401, 403, 409, 413, 415, 422, 503),
)
async def create_project(
    request: Request,
    body: contract.CreateProject,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """Makes a project that its creator owns. Durable: once accepted, it takes effect exactly once."""
    return await clients.command(request, asker, body, status=201)


@routes.get("", response_model=contract.ProjectPage, responses=errors(401, 403, 422, 503))
async def list_projects(
    asker: CurrentAsker, clients: ClientsHere, page: Annotated[contract.ListProjects, Query()]
) -> Response:
    """The projects that the asker is a member of, newest first; `q` looks in names and slugs."""
    return passed_on(await clients.query(asker, page))


@routes.get("/{project_id}", response_model=contract.Project, responses=errors(401, 403, 404, 422, 503))
async def get_project(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    answer = await clients.query(asker, contract.GetProject(), project=project_id)
    response = passed_on(answer)
    response.headers["ETag"] = f'"{answer.value().version}"'
    return response


@routes.patch(
    "/{project_id}",
    response_model=contract.Project,
    responses=ACCEPTED | errors(400, 401, 403, 404, 412, 413, 415, 422, 503),
)
async def update_project(
    project_id: uuid.UUID,
    request: Request,
    body: ProjectChange,
    asker: CurrentAsker,
    clients: ClientsHere,
    if_match: IfMatch = None,
    _key: IdempotencyKey = None,
) -> Response:
    """For maintainers. With `If-Match`, only if nobody else was faster."""
    command = contract.UpdateProject(**body.model_dump(), expected_version=_version(if_match))
    return await clients.command(request, asker, command, status=200, project=project_id)


@routes.delete(
    "/{project_id}",
    status_code=204,
    responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 409, 412, 422, 503),
)
async def delete_project(
    project_id: uuid.UUID,
    request: Request,
    asker: CurrentAsker,
    clients: ClientsHere,
    if_match: IfMatch = None,
) -> Response:
    """For owners. Nobody reaches it any more, until an owner restores it."""
    command = contract.DeleteProject(expected_version=_version(if_match))
    return await clients.command(request, asker, command, status=204, project=project_id)


@routes.post(
    "/{project_id}/restore",
    response_model=contract.Project,
    responses=ACCEPTED | errors(401, 403, 404, 422, 503),
)
async def restore_project(
    project_id: uuid.UUID,
    request: Request,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """For owners of a deleted project; `GET /projects?deleted=true` lists them."""
    return await clients.command(request, asker, contract.RestoreProject(project_id=project_id), status=200)


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip().removeprefix("W/"))
    if match is None:
        raise Invalid("If-Match takes an ETag of this resource.", code="bad_etag")
    return int(match.group(1))
