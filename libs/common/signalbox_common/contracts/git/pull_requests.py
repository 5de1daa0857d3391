"""Pull requests: opened at the forge of a repository, looked at there, changed and closed."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.git.base import AREA, REPOSITORY_NOT_FOUND, RefName
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

PullRequestTitle = Annotated[Text, StringConstraints(min_length=1, max_length=250, pattern=r"^[^\r\n]+$")]
PullRequestBody = Annotated[Text, StringConstraints(max_length=60_000)]
Label = Annotated[Text, StringConstraints(min_length=1, max_length=50, pattern=r"^[^\r\n,]+$")]
Labels = Annotated[tuple[Label, ...], Field(max_length=20)]
Reviewer = Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")]
Reviewers = Annotated[tuple[Reviewer, ...], Field(max_length=15)]
"""Whom the forge does not know, or who may not review it, is left out."""

_NOT_FOUND = {"pull_request_not_found": 404}
_AT_FORGE = {"forge_refused": 409, "forge_away": 409, "no_forge": 409, "project_gone": 409}


class PullRequestState(StrEnum):
    OPEN = "open"
    DRAFT = "draft"
    MERGED = "merged"
    CLOSED = "closed"


class WantedPullRequest(Message):
    """What is opened once a delivery is on its branch; one of ours that is there says this from then on."""

    target: RefName
    title: PullRequestTitle
    body: PullRequestBody = ""
    draft: bool = False
    labels: Labels = ()
    reviewers: Reviewers = ()


class PullRequestLink(Message):
    id: uuid.UUID
    number: int
    url: str


class PullRequest(Reply):
    """As its forge had it when it was asked last."""

    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    number: int
    url: str
    state: PullRequestState
    head: str
    base: str
    title: str
    commit: str | None = None
    """What its branch leads to, or did when it ended."""
    run: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    created_by: uuid.UUID
    created_at: datetime
    seen_at: datetime
    version: int


class OpenPullRequest(Command[PullRequest]):
    """One that is open already for these two branches is answered as it is."""

    subject = "cmd.git.v1.open-pull-request"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | _AT_FORGE

    repository: uuid.UUID
    head: RefName
    base: RefName
    title: PullRequestTitle
    body: PullRequestBody = ""
    draft: bool = False
    labels: Labels = ()
    reviewers: Reviewers = ()


class UpdatePullRequest(Command[PullRequest]):
    """What is not named stays as it is at the forge."""

    subject = "cmd.git.v1.update-pull-request"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "pull_request"
    refusals = _NOT_FOUND | _AT_FORGE | {"nothing_to_change": 422}

    pull_request: uuid.UUID
    title: PullRequestTitle | None = None
    body: PullRequestBody | None = None
    labels: Labels | None = None
    reviewers: Reviewers | None = None


class ClosePullRequest(Command[PullRequest]):
    """Without merging it; its branch stays. One that has ended is answered as it is."""

    subject = "cmd.git.v1.close-pull-request"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "pull_request"
    refusals = _NOT_FOUND | _AT_FORGE

    pull_request: uuid.UUID


class RefreshPullRequest(Command[PullRequest]):
    """Answered when the forge was asked how it is."""

    subject = "cmd.git.v1.refresh-pull-request"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "pull_request"
    refusals = _NOT_FOUND | _AT_FORGE

    pull_request: uuid.UUID


class GetPullRequest(Query[PullRequest]):
    """Where it may have changed since, the forge is asked by and by."""

    subject = "qry.git.v1.get-pull-request"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _NOT_FOUND

    pull_request: uuid.UUID


class PullRequestPage(Reply):
    items: tuple[PullRequest, ...]
    next_cursor: str | None = None


class ListPullRequests(Query[PullRequestPage]):
    """Newest first."""

    subject = "qry.git.v1.list-pull-requests"
    grant = GrantScope.PROJECT
    area = AREA

    repository: uuid.UUID | None = None
    state: PullRequestState | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class PullRequestPlace(Reply):
    project: uuid.UUID


class FindPullRequest(Query[PullRequestPlace]):
    """Whose it is, for whoever has only its id."""

    subject = "qry.git.v1.find-pull-request"
    grant = GrantScope.NONE
    refusals = _NOT_FOUND

    pull_request: uuid.UUID


class PullRequestChanged(Event):
    """What has no greater version than the last one is old news."""

    subject = "evt.*.git.pull-request.changed"

    pull_request: uuid.UUID
    repository: uuid.UUID
    run: uuid.UUID | None = None
    number: int
    url: str
    state: PullRequestState
    head: str
    base: str
    version: int
