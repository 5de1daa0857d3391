"""What a project is shown to a whole host as, where its repositories there have nothing of their own."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from pydantic import AfterValidator, SecretStr
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.at_git import AtGitCredential, GitBody
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "repositories")


class NewGitCredential(GitBody):
    host: contract.HostName
    """`github.com`, or `forge.example:3000`."""
    forge: contract.Forge | None = None
    """By default what the host says."""
    api_url: contract.ApiUrl | None = None
    """Where the forge answers, where that is not what its host says."""
    token: Annotated[SecretStr, AfterValidator(contract.one_line)]
    username: contract.Username | None = None

    def asked(self) -> contract.AddGitCredential:
        return contract.AddGitCredential(
            host=self.host,
            forge=self.forge,
            api_url=self.api_url,
            token=self.token,
            username=self.username,
        )


class NewGitCredentialSomewhere(NewGitCredential):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


@routes.on("POST", "/git-credentials", contract.AddGitCredential, status=201)
async def add_git_credential(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewGitCredentialSomewhere
) -> Response:
    """In the place of the one that the project had for this host."""
    return await Sender(request, clients, asker, body.project_id or HOME).send(body.asked())


@routes.on("POST", "/projects/{project_id}/git-credentials", contract.AddGitCredential, status=201)
async def add_git_credential_to_project(here: InProject, body: NewGitCredential) -> Response:
    return await here.send(body.asked())


@routes.on("GET", "/git-credentials", contract.ListGitCredentials)
async def list_git_credentials(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default the asker's personal one.")
    ] = None,
) -> Response:
    """By host; what they are is not shown."""
    return await Sender(request, clients, asker, project_id or HOME).send(contract.ListGitCredentials())


@routes.on("GET", "/projects/{project_id}/git-credentials", contract.ListGitCredentials)
async def list_git_credentials_of_project(here: InProject) -> Response:
    """By host; what they are is not shown."""
    return await here.send(contract.ListGitCredentials())


@routes.on("GET", "/git-credentials/{credential_id}/repositories", contract.ListVisibleRepositories)
async def list_visible_repositories(
    here: AtGitCredential,
    credential_id: uuid.UUID,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """What the forge shows to whoever has it; asked now."""
    return await here.send(contract.ListVisibleRepositories(credential=credential_id, limit=limit))


@routes.on("DELETE", "/git-credentials/{credential_id}", contract.DeleteGitCredential)
async def delete_git_credential(here: AtGitCredential, credential_id: uuid.UUID) -> Response:
    """Repositories that were reached with it are reached without."""
    return await here.send(contract.DeleteGitCredential(credential=credential_id))
