"""Deliveries: what came out of a sandbox goes to its repository, as one commit on a branch."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.git.base import (
    AREA,
    REPOSITORY_NOT_FOUND,
    CommitId,
    GitError,
    RefName,
)
from signalbox_common.contracts.git.pull_requests import PullRequestLink, WantedPullRequest
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

Digest = Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PersonName = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[^<>\r\n]+$")]
Email = Annotated[Text, StringConstraints(min_length=3, max_length=300, pattern=r"^[^<>\s]+@[^<>\s]+$")]
CommitMessage = Annotated[Text, StringConstraints(min_length=1, max_length=20_000)]
Rule = Literal["refuse", "allow"]
DELIVERY_NOT_FOUND = {"delivery_not_found": 404}


class ChangeSetStored(Reply):
    sha256: str
    size: int


class CommitPerson(Message):
    name: PersonName
    email: Email


class DeliveryState(StrEnum):
    PENDING = "pending"
    COMMITTED = "committed"
    PUSHED = "pushed"
    OPENED = "opened"
    """Its pull request is there."""
    UNCHANGED = "unchanged"
    """There was nothing to commit."""
    REFUSED = "refused"
    """A policy of the repository stands against it."""
    STOPPED = "stopped"
    """Its run was stopped before it was done."""
    FAILED = "failed"


class Finding(Message):
    """What somebody should look at before it leaves."""

    kind: Literal["secret", "large", "binary", "deletions", "workflow"]
    path: str | None = None
    line: int | None = None
    detail: str


class ChangeDelivery(Reply):
    delivery: uuid.UUID
    repository: uuid.UUID
    run: uuid.UUID | None = None
    ordinal: int = 0
    state: DeliveryState
    final: bool
    title: str | None = None
    """The first line of its message."""
    base: str
    commit: str | None = None
    branch: str | None = None
    """Where it was pushed, which may be another one than was asked for."""
    findings: tuple[Finding, ...] = ()
    pull_request: PullRequestLink | None = None
    note: str | None = None
    """What was asked for and cannot be there: a pull request where there is no forge."""
    error: GitError | None = None
    created_at: datetime
    version: int


class Deliver(Command[ChangeDelivery]):
    """Answered at once; how it goes on is told as facts."""

    subject = "cmd.git.v1.deliver"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | {
        "run_ended": 409,
        "project_gone": 409,
        "run_reserved": 403,
        "disk_full": 507,
        "changes_not_found": 404,
    }

    run: uuid.UUID | None = None
    task: uuid.UUID | None = None
    """What the run belongs to, for those who look at its pull request."""
    ordinal: Annotated[int, Field(ge=0, le=1000)] = 0
    repository: uuid.UUID
    base: CommitId
    """What the changes were made of."""
    changes: Digest | None = None
    bundle: Digest | None = None
    """Commits that are kept as they are, instead of changes that become one."""
    message: CommitMessage
    author: CommitPerson
    co_authors: Annotated[tuple[CommitPerson, ...], Field(max_length=20)] = ()
    branch: RefName
    expected: CommitId | None = None
    """What was pushed there last; none where there must be no such branch."""
    pull_request: WantedPullRequest | None = None
    """Without it a delivery ends when it is pushed."""
    workflow_files: Rule = "refuse"
    """What a forge would run with rights of its own."""
    findings: Rule = "refuse"
    """Secrets, large and binary files, and deletions of more than half of the tree."""
    sign_off: bool | None = None
    """Whether its commit says that the author has signed it off; by default what the repository says."""

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.changes is None) == (self.bundle is None):
            raise ValueError("a delivery is of changes, or of a bundle")
        return self


class RetryDelivery(Command[ChangeDelivery]):
    """A new delivery of the same to the same branch, where the one before has come to nothing."""

    subject = "cmd.git.v1.retry-delivery"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "delivery"
    refusals = (
        DELIVERY_NOT_FOUND
        | REPOSITORY_NOT_FOUND
        | {
            "delivery_under_way": 409,
            "already_delivered": 409,
            "project_gone": 409,
            "disk_full": 507,
            "changes_not_found": 404,
        }
    )

    delivery: uuid.UUID
    workflow_files: Rule | None = None
    """By default as it was asked for before."""
    findings: Rule | None = None


class GetDelivery(Query[ChangeDelivery]):
    """By its id, or by its run and ordinal."""

    subject = "qry.git.v1.get-delivery"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = DELIVERY_NOT_FOUND

    delivery: uuid.UUID | None = None
    run: uuid.UUID | None = None
    ordinal: int = 0


class DeliveryPlace(Reply):
    project: uuid.UUID


class FindDelivery(Query[DeliveryPlace]):
    """Whose it is, for whoever has only its id."""

    subject = "qry.git.v1.find-delivery"
    grant = GrantScope.NONE
    refusals = DELIVERY_NOT_FOUND

    delivery: uuid.UUID


class DeliveryPage(Reply):
    items: tuple[ChangeDelivery, ...]
    next_cursor: str | None = None


class ListDeliveries(Query[DeliveryPage]):
    """Newest first."""

    subject = "qry.git.v1.list-deliveries"
    grant = GrantScope.PROJECT
    area = AREA

    repository: uuid.UUID | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class DeliveryChanged(Event):
    """One subject for all states; what has no greater version than the last one is old news."""

    subject = "evt.*.git.delivery.changed"

    delivery: uuid.UUID
    repository: uuid.UUID
    run: uuid.UUID | None = None
    ordinal: int = 0
    state: DeliveryState
    final: bool
    commit: str | None = None
    branch: str | None = None
    pull_request: PullRequestLink | None = None
    note: str | None = None
    error: GitError | None = None
    version: int
