"""Templates: what sandboxes are made of."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from signalbox_common.contracts import sandbox as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.at_sandbox import AtSandbox, SandboxBody
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "sandboxes")

Whose = Annotated[
    uuid.UUID | None, Query(alias="projectId", description="By default the asker's personal project.")
]


class TemplateToKeep(SandboxBody):
    name: contract.TemplateName
    digest: contract.Digest | None = None
    """Of the recipe, to know it by."""
    env: contract.Settings = Field(default_factory=dict)
    """What programs of its sandboxes have in their environment."""


@routes.on("POST", "/sandboxes/{sandbox_id}/template", contract.KeepTemplate, status=201)
async def keep_template(here: AtSandbox, sandbox_id: uuid.UUID, body: TemplateToKeep) -> Response:
    """What it has put below `/opt/template` becomes a template of its project; the sandbox ends."""
    return await here.send(
        contract.KeepTemplate(sandbox=sandbox_id, name=body.name, digest=body.digest, env=body.env)
    )


@routes.on("GET", "/templates", contract.ListTemplates)
async def list_templates(
    request: Request, clients: ClientsHere, asker: CurrentAsker, project_id: Whose = None
) -> Response:
    return await Sender(request, clients, asker, project_id or HOME).send(contract.ListTemplates())


@routes.on("GET", "/templates/{template}", contract.GetTemplate)
async def get_template_of(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    template: contract.TemplateName,
    project_id: Whose = None,
) -> Response:
    return await Sender(request, clients, asker, project_id or HOME).send(contract.GetTemplate(name=template))


@routes.on("DELETE", "/templates/{template}", contract.DeleteTemplate)
async def delete_template_of(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    template: contract.TemplateName,
    project_id: Whose = None,
) -> Response:
    """Sandboxes that were made of it go on."""
    here = Sender(request, clients, asker, project_id or HOME)
    return await here.send(contract.DeleteTemplate(name=template))


@routes.on("GET", "/projects/{project_id}/templates", contract.ListTemplates)
async def list_templates_of_project(here: InProject) -> Response:
    return await here.send(contract.ListTemplates())


@routes.on("GET", "/projects/{project_id}/templates/{template}", contract.GetTemplate)
async def get_template(here: InProject, template: contract.TemplateName) -> Response:
    return await here.send(contract.GetTemplate(name=template))


@routes.on("DELETE", "/projects/{project_id}/templates/{template}", contract.DeleteTemplate)
async def delete_template(here: InProject, template: contract.TemplateName) -> Response:
    """Sandboxes that were made of it go on."""
    return await here.send(contract.DeleteTemplate(name=template))
