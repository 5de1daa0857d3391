"""Repositories: where agents work."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.paging import Cursor
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_git import AtRepository, GitBody
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "repositories")


class NewRepository(GitBody):
    name: contract.RepositoryName | None = None
    """By default that of its address."""
    url: contract.RepositoryUrl
    forge: contract.Forge | None = None
    api_url: contract.ApiUrl | None = None
    """Where its forge answers, where that is not what its host says."""
    default_branch: contract.RefName | None = None
    credential: contract.RepositoryCredential | None = None
    setup: contract.SetupCommands = ()
    """Commands that a run begins with."""
    protected: contract.BranchPatterns | None = None
    """Branches that nothing is delivered to; by default the default branch."""
    policy: contract.DeliveryPolicy | None = None
    signing_key: contract.SigningKey | None = None

    def asked(self) -> contract.AddRepository:
        return contract.AddRepository(
            name=self.name,
            url=self.url,
            forge=self.forge,
            api_url=self.api_url,
            default_branch=self.default_branch,
            credential=self.credential,
            setup=self.setup,
            protected=self.protected,
            policy=self.policy,
            signing_key=self.signing_key,
        )


class NewRepositorySomewhere(NewRepository):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class RepositoryChange(GitBody):
    """What is not named stays."""

    name: contract.RepositoryName | None = None
    url: contract.RepositoryUrl | None = None
    forge: contract.Forge | None = None
    api_url: contract.ApiUrl | None = None
    default_branch: contract.RefName | None = None
    credential: contract.RepositoryCredential | None = None
    remove_credential: bool = False
    forget_host_keys: bool = False
    """Whether the next key that its host shows counts, as the first one did."""
    setup: contract.SetupCommands | None = None
    protected: contract.BranchPatterns | None = None
    policy: contract.DeliveryPolicy | None = None
    """In place of the one before, as a whole."""
    signing_key: contract.SigningKey | None = None
    remove_signing_key: bool = False


@routes.on("POST", "/repositories", contract.AddRepository, status=201)
async def add_repository(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewRepositorySomewhere
) -> Response:
    """It is fetched from then on; what the remote says of that stands in its status."""
    return await Sender(request, clients, asker, body.project_id or HOME).send(body.asked())


@routes.on("POST", "/projects/{project_id}/repositories", contract.AddRepository, status=201)
async def add_repository_to_project(here: InProject, body: NewRepository) -> Response:
    return await here.send(body.asked())


@routes.on("GET", "/repositories", contract.ListRepositories)
async def list_repositories(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    wanted = contract.ListRepositories(cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/repositories", contract.ListRepositories)
async def list_repositories_of_project(
    here: InProject, page: Annotated[contract.ListRepositories, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/repositories/{repository_id}", contract.GetRepository)
async def get_repository(here: AtRepository, repository_id: uuid.UUID) -> Response:
    return await here.send(contract.GetRepository(repository=repository_id))


@routes.on("PATCH", "/repositories/{repository_id}", contract.UpdateRepository)
async def update_repository(here: AtRepository, repository_id: uuid.UUID, body: RepositoryChange) -> Response:
    """Another host needs its credential again."""
    return await here.send(
        contract.UpdateRepository(
            repository=repository_id,
            name=body.name,
            url=body.url,
            forge=body.forge,
            api_url=body.api_url,
            default_branch=body.default_branch,
            credential=body.credential,
            remove_credential=body.remove_credential,
            forget_host_keys=body.forget_host_keys,
            setup=body.setup,
            protected=body.protected,
            policy=body.policy,
            signing_key=body.signing_key,
            remove_signing_key=body.remove_signing_key,
        )
    )


@routes.on("DELETE", "/repositories/{repository_id}", contract.DeleteRepository)
async def delete_repository(here: AtRepository, repository_id: uuid.UUID) -> Response:
    """Here; the remote stays as it is."""
    return await here.send(contract.DeleteRepository(repository=repository_id))


@routes.on("POST", "/repositories/{repository_id}/test", contract.TestRepository)
async def test_repository(here: AtRepository, repository_id: uuid.UUID) -> Response:
    """Asks the remote now, and says what is wrong in a word and in a sentence."""
    return await here.send(contract.TestRepository(repository=repository_id))


@routes.on("POST", "/repositories/{repository_id}/fetch", contract.FetchRepository)
async def fetch_repository(here: AtRepository, repository_id: uuid.UUID) -> Response:
    """Answered when it is here as it is at its remote."""
    return await here.send(contract.FetchRepository(repository=repository_id))
