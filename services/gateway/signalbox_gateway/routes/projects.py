"""Projects: create, list, get."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import ClientsHere, IdempotencyKey, errors, passed_on, router
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/projects", "projects")


@routes.post(
    "",
    status_code=201,
    response_model=contract.Project,
    responses=ACCEPTED | errors(400, 401, 409, 413, 415, 422, 503),
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


@routes.get("", response_model=contract.ProjectPage, responses=errors(401, 422, 503))
async def list_projects(
    asker: CurrentAsker, clients: ClientsHere, page: Annotated[contract.ListProjects, Query()]
) -> Response:
    """The projects that the asker is a member of, newest first."""
    return passed_on(await clients.query(asker, page))


@routes.get("/{project_id}", response_model=contract.Project, responses=errors(401, 404, 422, 503))
async def get_project(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.GetProject(), project=project_id))
