"""Checkouts: a tree of one commit, ready for a sandbox."""

import uuid
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Command, GrantScope, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.git.base import (
    AREA,
    REPOSITORY_NOT_FOUND,
    GitError,
    RefName,
    Revision,
)
from signalbox_common.contracts.roles import ProjectRole

SparsePath = Annotated[
    Text, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^!#\\*?\[\]\x00-\x1f\x7f]+$")
]


class CheckoutState(StrEnum):
    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"


class Checkout(Reply):
    checkout: uuid.UUID
    state: CheckoutState
    repository: uuid.UUID
    run: uuid.UUID | None = None
    commit: str | None = None
    branch: str | None = None
    """That is checked out."""
    base: str | None = None
    """The branch or revision that it was made of."""
    error: GitError | None = None
    version: int


class Prepare(Command[Checkout]):
    """Answered at once; that it is ready, or failed, is told as a fact."""

    subject = "cmd.git.v1.prepare"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | {
        "run_ended": 409,
        "project_gone": 409,
        "run_reserved": 403,
        "disk_full": 507,
    }

    run: uuid.UUID | None = None
    repository: uuid.UUID
    ref: Revision | None = None
    """Where to begin: a branch, a tag or a commit; by default the default branch."""
    branch: RefName | None = None
    """A branch to go on with; where the remote has none of that name, it begins at the ref."""
    new_branch: RefName | None = None
    """What the branch is called that is checked out, if not as the one that it begins at."""
    depth: Annotated[int, Field(ge=1, le=100_000)] = 50
    sparse: Annotated[tuple[SparsePath, ...], Field(max_length=100)] = ()
    """Folders that are there; by default all."""
    submodules: bool = False
    lfs: bool = False


class GetCheckout(Query[Checkout]):
    """By its id, or the newest of a run."""

    subject = "qry.git.v1.get-checkout"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = {"checkout_not_found": 404}

    checkout: uuid.UUID | None = None
    run: uuid.UUID | None = None


class CheckoutChanged(Event):
    """One subject for all states; what has no greater version than the last one is old news."""

    subject = "evt.*.git.checkout.changed"

    checkout: uuid.UUID
    run: uuid.UUID | None = None
    state: CheckoutState
    repository: uuid.UUID
    commit: str | None = None
    branch: str | None = None
    base: str | None = None
    error: GitError | None = None
    version: int
