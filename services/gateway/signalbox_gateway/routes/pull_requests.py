"""Pull requests at the forges of repositories."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.paging import Cursor
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_git import AtPullRequest, AtRepository, GitBody
from signalbox_gateway.routes.here import ClientsHere, InProject
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "pull requests")

Limit = Annotated[int, Query(ge=1, le=200)]
OfRepository = Annotated[uuid.UUID | None, Query(alias="repositoryId")]


class NewPullRequest(GitBody):
    head: contract.RefName
    """A branch that is at the remote."""
    base: contract.RefName
    title: contract.PullRequestTitle
    body: contract.PullRequestBody = ""
    draft: bool = False
    labels: contract.Labels = ()
    reviewers: contract.Reviewers = ()


class PullRequestChange(GitBody):
    """What is not named stays."""

    title: contract.PullRequestTitle | None = None
    body: contract.PullRequestBody | None = None
    labels: contract.Labels | None = None
    reviewers: contract.Reviewers | None = None


@routes.on("POST", "/repositories/{repository_id}/pull-requests", contract.OpenPullRequest, status=201)
async def open_pull_request(here: AtRepository, repository_id: uuid.UUID, body: NewPullRequest) -> Response:
    """One that is open already for these two branches is answered as it is."""
    return await here.send(
        contract.OpenPullRequest(
            repository=repository_id,
            head=body.head,
            base=body.base,
            title=body.title,
            body=body.body,
            draft=body.draft,
            labels=body.labels,
            reviewers=body.reviewers,
        )
    )


@routes.on("GET", "/repositories/{repository_id}/pull-requests", contract.ListPullRequests)
async def list_pull_requests_of_repository(
    here: AtRepository,
    repository_id: uuid.UUID,
    state: contract.PullRequestState | None = None,
    cursor: Cursor | None = None,
    limit: Limit = 50,
) -> Response:
    """Newest first."""
    return await here.send(
        contract.ListPullRequests(repository=repository_id, state=state, cursor=cursor, limit=limit)
    )


@routes.on("GET", "/pull-requests", contract.ListPullRequests)
async def list_pull_requests(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    repository_id: OfRepository = None,
    state: contract.PullRequestState | None = None,
    cursor: Cursor | None = None,
    limit: Limit = 50,
) -> Response:
    """Newest first."""
    wanted = contract.ListPullRequests(repository=repository_id, state=state, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/pull-requests", contract.ListPullRequests)
async def list_pull_requests_of_project(
    here: InProject,
    repository_id: OfRepository = None,
    state: contract.PullRequestState | None = None,
    cursor: Cursor | None = None,
    limit: Limit = 50,
) -> Response:
    """Newest first."""
    return await here.send(
        contract.ListPullRequests(repository=repository_id, state=state, cursor=cursor, limit=limit)
    )


@routes.on("GET", "/pull-requests/{pull_request_id}", contract.GetPullRequest)
async def get_pull_request(here: AtPullRequest, pull_request_id: uuid.UUID) -> Response:
    """As it was seen last; where that is a while ago, its forge is asked by and by."""
    return await here.send(contract.GetPullRequest(pull_request=pull_request_id))


@routes.on("PATCH", "/pull-requests/{pull_request_id}", contract.UpdatePullRequest)
async def update_pull_request(
    here: AtPullRequest, pull_request_id: uuid.UUID, body: PullRequestChange
) -> Response:
    """Labels and reviewers are added to those that it has."""
    return await here.send(
        contract.UpdatePullRequest(
            pull_request=pull_request_id,
            title=body.title,
            body=body.body,
            labels=body.labels,
            reviewers=body.reviewers,
        )
    )


@routes.on("POST", "/pull-requests/{pull_request_id}/close", contract.ClosePullRequest)
async def close_pull_request(here: AtPullRequest, pull_request_id: uuid.UUID) -> Response:
    """Without merging it; its branch stays."""
    return await here.send(contract.ClosePullRequest(pull_request=pull_request_id))


@routes.on("POST", "/pull-requests/{pull_request_id}/refresh", contract.RefreshPullRequest)
async def refresh_pull_request(here: AtPullRequest, pull_request_id: uuid.UUID) -> Response:
    """Answered as it is at its forge now."""
    return await here.send(contract.RefreshPullRequest(pull_request=pull_request_id))
