"""Projects."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import Here, InProject, passed_on
from signalbox_gateway.routes.preconditions import BAD_ETAG, IfMatch, number_of, tagged
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/projects", "projects")


class ProjectChange(BaseModel):
    """Whatever is given is set. The slug stays: it is the namespace of the project's resources."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    name: contract.ProjectName | None = None
    description: contract.Description | None = None


@routes.on("POST", "", contract.CreateProject, status=201)
async def create_project(here: Here, body: contract.CreateProject) -> Response:
    """Makes a project that its creator owns. Durable: once accepted, it takes effect exactly once."""
    return await here.send(body)


@routes.on("GET", "", contract.ListProjects)
async def list_projects(here: Here, page: Annotated[contract.ListProjects, Query()]) -> Response:
    """The projects that the asker is a member of, newest first; `q` looks in names and slugs."""
    return await here.send(page)


@routes.on("GET", "/{project_id}", contract.GetProject)
async def get_project(here: InProject) -> Response:
    answer = await here.answer(contract.GetProject())
    return tagged(passed_on(answer), answer.value().version)


@routes.on("PATCH", "/{project_id}", contract.UpdateProject, also=[BAD_ETAG])
async def update_project(here: InProject, body: ProjectChange, if_match: IfMatch = None) -> Response:
    """For maintainers. With `If-Match`, only if nobody else was faster."""
    return await here.send(contract.UpdateProject(**body.model_dump(), expected_version=number_of(if_match)))


@routes.on("DELETE", "/{project_id}", contract.DeleteProject, also=[BAD_ETAG])
async def delete_project(here: InProject, if_match: IfMatch = None) -> Response:
    """For owners. Nobody reaches it any more, until an owner restores it."""
    return await here.send(contract.DeleteProject(expected_version=number_of(if_match)))


@routes.on("GET", "/{project_id}/quotas", contract.GetQuotas)
async def get_quotas(here: Here, project_id: uuid.UUID) -> Response:
    """What it may have and use. For its owners, and for administrators."""
    return await here.send(contract.GetQuotas(project=project_id))


@routes.on("PUT", "/{project_id}/quotas", contract.SetQuotas)
async def set_quotas(here: Here, project_id: uuid.UUID, body: contract.QuotaLimits) -> Response:
    """Admins only. Null is no bound; what is not named is as the installation has it."""
    given = [name for name in contract.QuotaName if contract.FIELDS[name] in body.model_fields_set]
    return await here.send(contract.SetQuotas(project=project_id, limits=body, given=tuple(given)))


@routes.on("POST", "/{project_id}/restore", contract.RestoreProject)
async def restore_project(here: Here, project_id: uuid.UUID) -> Response:
    """For owners of a deleted project; `GET /projects?deleted=true` lists them."""
    return await here.send(contract.RestoreProject(project_id=project_id))
