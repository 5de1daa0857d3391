"""Operations on repositories that are written down: branches, tags, merges, reverts and the like."""

import re
import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from signalbox_common.contracts.base import Ask, Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event, ProgressEvent
from signalbox_common.contracts.git.base import (
    AREA,
    REPOSITORY_NOT_FOUND,
    CommitId,
    RefName,
    Revision,
)
from signalbox_common.contracts.git.deliveries import CommitMessage, CommitPerson, Rule
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

_LIKE_A_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NOT_FOUND = {"operation_not_found": 404}


def _unmistakable(name: str) -> str:
    """What git would read as something else is no name for a new one."""
    if name == "HEAD" or name.startswith("refs/") or _LIKE_A_COMMIT.fullmatch(name):
        raise ValueError("git would take this name for something else")
    return name


NewRefName = Annotated[RefName, AfterValidator(_unmistakable)]
TagMessage = Annotated[Text, StringConstraints(min_length=1, max_length=20_000)]
Mainline = Annotated[int, Field(ge=1, le=64)]


class GitOperationType(StrEnum):
    FETCH = "fetch"
    BRANCH = "branch"
    DELETE_BRANCH = "delete-branch"
    TAG = "tag"
    DELETE_TAG = "delete-tag"
    REVERT = "revert"
    CHERRY_PICK = "cherry-pick"
    MERGE = "merge"
    CLEANUP = "cleanup"


class GitOperationStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FastForward(StrEnum):
    ALLOW = "allow"
    """Where nothing has to be merged, the branch is moved."""
    NEVER = "never"
    """There is a merge commit always."""
    ONLY = "only"
    """Where something would have to be merged, it is refused."""


class FetchAction(Message):
    type: Literal[GitOperationType.FETCH] = GitOperationType.FETCH


class BranchAction(Message):
    """A new branch."""

    type: Literal[GitOperationType.BRANCH] = GitOperationType.BRANCH
    name: NewRefName
    revision: Revision | None = None
    """By default where the default branch is."""
    protected: Rule = "refuse"
    """`allow` is for maintainers, here and below."""


class DeleteBranchAction(Message):
    type: Literal[GitOperationType.DELETE_BRANCH] = GitOperationType.DELETE_BRANCH
    name: RefName
    expected: CommitId | None = None
    """What it has to lead to; by default whatever it leads to when it is looked at."""
    protected: Rule = "refuse"


class TagAction(Message):
    """A new tag: with a message it is an object with an author and a date."""

    type: Literal[GitOperationType.TAG] = GitOperationType.TAG
    name: NewRefName
    revision: Revision | None = None
    message: TagMessage | None = None
    author: CommitPerson | None = None
    """By default the person who asks, as far as they are known; here and below."""


class DeleteTagAction(Message):
    type: Literal[GitOperationType.DELETE_TAG] = GitOperationType.DELETE_TAG
    name: RefName
    expected: CommitId | None = None


class RevertAction(Message):
    """One commit more on a branch, which takes back what another one did."""

    type: Literal[GitOperationType.REVERT] = GitOperationType.REVERT
    branch: RefName
    commit: Revision
    mainline: Mainline | None = None
    """Of a merge, the parent that counts."""
    message: CommitMessage | None = None
    author: CommitPerson | None = None
    protected: Rule = "refuse"


class CherryPickAction(Message):
    """One commit more on a branch, which does what another one did; its author stays the author."""

    type: Literal[GitOperationType.CHERRY_PICK] = GitOperationType.CHERRY_PICK
    branch: RefName
    commit: Revision
    mainline: Mainline | None = None
    message: CommitMessage | None = None
    protected: Rule = "refuse"


class MergeAction(Message):
    type: Literal[GitOperationType.MERGE] = GitOperationType.MERGE
    branch: RefName
    """What is merged into."""
    source: Revision
    fast_forward: FastForward = FastForward.ALLOW
    message: CommitMessage | None = None
    author: CommitPerson | None = None
    protected: Rule = "refuse"


class CleanupAction(Message):
    """Packs what is kept of it here, and removes what nobody needs; the remote stays as it is."""

    type: Literal[GitOperationType.CLEANUP] = GitOperationType.CLEANUP


GitAction = Annotated[
    FetchAction
    | BranchAction
    | DeleteBranchAction
    | TagAction
    | DeleteTagAction
    | RevertAction
    | CherryPickAction
    | MergeAction
    | CleanupAction,
    Field(discriminator="type"),
]


class GitOperationError(Message):
    code: str
    detail: str
    retryable: bool = False
    paths: tuple[str, ...] = ()
    """Of a conflict: the files that both have changed, as far as they are named."""


class GitOperationProgress(Message):
    """How far git is, as it says itself."""

    step: Literal["fetch", "push"]
    phase: str
    """`counting`, `compressing`, `receiving`, `resolving`, `writing`, …"""
    percent: int


class GitOperation(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    sandbox_id: uuid.UUID | None = None
    """None: it is done on what the service keeps of the repository."""
    operation_type: GitOperationType
    status: GitOperationStatus
    action: GitAction
    """As it was asked for."""
    previous: str | None = None
    """What its branch or tag led to before."""
    commit_sha: str | None = None
    """What it leads to since; of a tag, the commit that it names."""
    changed: bool | None = None
    """False where all was so before."""
    freed_bytes: int | None = None
    error: GitOperationError | None = None
    error_message: str | None = None
    progress: GitOperationProgress | None = None
    cancelling: bool = False
    """Its push was under way when it was cancelled: that is finished, and nothing more is begun."""
    created_by: uuid.UUID
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    version: int


class Operate(Command[GitOperation]):
    """Answered at once; how it goes on is told as facts."""

    subject = "cmd.git.v1.operate"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | {"project_gone": 409, "disk_full": 507}

    repository: uuid.UUID
    action: GitAction


class GetGitOperation(Query[GitOperation]):
    subject = "qry.git.v1.get-operation"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _NOT_FOUND

    operation: uuid.UUID
    repository: uuid.UUID | None = None
    """Where it is looked for; by default wherever it is."""


class GitOperationPage(Reply):
    items: tuple[GitOperation, ...]
    next_cursor: str | None = None


class ListGitOperations(Query[GitOperationPage]):
    """Newest first."""

    subject = "qry.git.v1.list-operations"
    grant = GrantScope.PROJECT
    area = AREA

    repository: uuid.UUID | None = None
    type: GitOperationType | None = None
    status: GitOperationStatus | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class CancelGitOperation(Ask[GitOperation]):
    """For who asked for it, and maintainers. A push that is under way is finished: `cancelling` says so."""

    subject = "ask.git.v1.cancel-git-operation"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "operation"
    refusals = _NOT_FOUND | {"already_ended": 409}

    operation: uuid.UUID
    repository: uuid.UUID | None = None


class GitOperationChanged(Event):
    """One subject for all states; what has no greater version than the last one is old news."""

    subject = "evt.*.git.operation.changed"

    operation: uuid.UUID
    repository: uuid.UUID
    operation_type: GitOperationType
    status: GitOperationStatus
    previous: str | None = None
    commit_sha: str | None = None
    changed: bool | None = None
    error: GitOperationError | None = None
    cancelling: bool = False
    created_by: uuid.UUID
    version: int


class GitOperationProgressed(ProgressEvent):
    subject = "evt.*.git.operation.progressed"

    operation: uuid.UUID
    repository: uuid.UUID
    attempt: int
    """Each begins anew."""
    step: Literal["fetch", "push"]
    phase: str
    percent: int

    def joined(self, following: Self) -> Self | None:
        """How far it was before nobody needs to know."""
        same = (self.attempt, self.step, self.phase) == (following.attempt, following.step, following.phase)
        return following if same else None
