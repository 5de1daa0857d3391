"""Sandboxes: safe machines that programs run in."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from signalbox_common.contracts import git
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_sandbox import AtSandbox, SandboxBody
from signalbox_gateway.routes.checkouts import FAILS, PREPARING, prepared
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender, passed_on
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "sandboxes")

_SENT = (contract.CreateSandbox, *PREPARING)
_CREATING: Responses = {
    202: {"description": "It does not run yet; `status` is `creating`.", "model": contract.Sandbox}
}


class NewSandbox(SandboxBody):
    """All of it may be left out."""

    template: contract.TemplateName = "base"
    builds: bool = False
    """Whether it may put programs below `/opt/template`, to be kept as a template."""
    env: contract.Environment = Field(default_factory=dict)
    limits: contract.Limits = contract.Limits()
    timeout: contract.Lifetime = 3600
    """Seconds until `atEnd`."""
    at_end: contract.AtEnd = contract.AtEnd.DESTROY
    network: contract.Network = "none"
    doors: contract.Doors = ()
    labels: Annotated[dict[contract.LabelName, contract.Label], Field(max_length=50)] = Field(
        default_factory=dict
    )
    repository: git.RepositoryName | None = None
    """Whose files are in its workspace, by id or by name, with git as in any clone."""
    ref: git.Revision | None = None
    """Where to begin there: a branch, a tag or a commit; by default the default branch."""
    new_branch: git.RefName | None = None
    """What the branch is called that it is on, if not as the one that it begins at."""
    submodules: bool = False
    """Whether they are laid out, too."""
    lfs: bool = False
    """Whether the files that LFS keeps are there in place of their pointers."""

    def checkout(self, repository: uuid.UUID) -> git.Prepare:
        """What it begins with."""
        return git.Prepare(
            repository=repository,
            ref=self.ref,
            new_branch=self.new_branch,
            submodules=self.submodules,
            lfs=self.lfs,
        )

    def asked(self, workspace: contract.SandboxWorkspace | None) -> contract.CreateSandbox:
        return contract.CreateSandbox(
            workspace=workspace,
            template=self.template,
            builds=self.builds,
            env=self.env,
            limits=self.limits,
            lifetime=self.timeout,
            at_end=self.at_end,
            network=self.network,
            doors=self.doors,
            labels=self.labels,
        )


class NewSandboxSomewhere(NewSandbox):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class Timeout(SandboxBody):
    timeout: contract.Lifetime


class NetworkOf(SandboxBody):
    network: contract.Network


@routes.on("POST", "/sandboxes", *_SENT, status=201, also=FAILS, shows=_CREATING)
async def create_sandbox(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewSandboxSomewhere
) -> Response:
    """Answered when it runs, which takes less than a tenth of a second, or after four seconds with 202."""
    return await _create(Sender(request, clients, asker, body.project_id or HOME), body)


@routes.on("POST", "/projects/{project_id}/sandboxes", *_SENT, status=201, also=FAILS, shows=_CREATING)
async def create_sandbox_in_project(here: InProject, body: NewSandbox) -> Response:
    return await _create(here, body)


async def _create(here: Sender, body: NewSandbox) -> Response:
    workspace = await prepared(here, body.repository, body.checkout)
    answer = await here.answer(body.asked(workspace))
    creating = answer.value().status is SandboxStatus.CREATING
    return passed_on(answer, 202 if creating else 201)


@routes.on("GET", "/sandboxes", contract.ListSandboxes)
async def list_sandboxes(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    status: SandboxStatus | None = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first; those that have ended are listed for a month."""
    wanted = contract.ListSandboxes(status=status, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/sandboxes", contract.ListSandboxes)
async def list_sandboxes_of_project(
    here: InProject, page: Annotated[contract.ListSandboxes, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/sandboxes/{sandbox_id}", contract.GetSandbox)
async def get_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    return await here.send(contract.GetSandbox(sandbox=sandbox_id))


@routes.on("DELETE", "/sandboxes/{sandbox_id}", contract.DestroySandbox)
async def destroy_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """With all that is in it."""
    return await here.send(contract.DestroySandbox(sandbox=sandbox_id))


@routes.on("POST", "/sandboxes/{sandbox_id}/pause", contract.PauseSandbox)
async def pause_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """Its programs stop where they are. Its files outlive a restart of its node, its programs do not."""
    return await here.send(contract.PauseSandbox(sandbox=sandbox_id))


@routes.on("POST", "/sandboxes/{sandbox_id}/resume", contract.ResumeSandbox)
async def resume_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """Its programs go on, with all of its time ahead again."""
    return await here.send(contract.ResumeSandbox(sandbox=sandbox_id))


@routes.on("PUT", "/sandboxes/{sandbox_id}/timeout", contract.SetSandboxDeadline)
async def set_timeout(here: AtSandbox, sandbox_id: uuid.UUID, body: Timeout) -> Response:
    """From now on it has that many seconds."""
    return await here.send(contract.SetSandboxDeadline(sandbox=sandbox_id, lifetime=body.timeout))


@routes.on("PUT", "/sandboxes/{sandbox_id}/network", contract.SetSandboxNetwork)
async def set_network(here: AtSandbox, sandbox_id: uuid.UUID, body: NetworkOf) -> Response:
    """Holds for open connections, too."""
    return await here.send(contract.SetSandboxNetwork(sandbox=sandbox_id, network=body.network))
