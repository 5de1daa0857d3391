"""Tasks: what somebody wants done."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Command, Empty, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.catalog import ResourceName
from signalbox_common.contracts.git import RefName, Revision, SetupCommands
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox import Limits, Network, TemplateName
from signalbox_common.contracts.tasks.attachments import AttachmentIds, TaskAttachment
from signalbox_common.contracts.tasks.base import (
    DAY,
    TASK_NOT_FOUND,
    Description,
    Labels,
    Parameters,
    Priority,
    RunError,
    Seconds,
    TaskPlace,
    TaskStatus,
    Title,
)
from signalbox_common.contracts.tasks.shells import ExecShell, NoopShell

ConcurrencyKey = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
_CREATED = {
    "project_gone": 409,
    "concurrency_busy": 409,
    "environment_not_found": 404,
    "dependency_not_found": 404,
    "agent_not_found": 404,
    "attachment_not_found": 422,
    "attachment_names_clash": 422,
    "quota_exceeded": 429,
    "already_done": 409,  # longer ago than its answer is kept
    "disk_full": 507,
}

_AGAIN = TASK_NOT_FOUND | {
    "run_under_way": 409,
    "project_gone": 409,
    "concurrency_busy": 409,
    "quota_exceeded": 429,
    "already_done": 409,  # longer ago than its answer is kept
    "disk_full": 507,
}


class PullRequestOptions(Message):
    """By default one is opened, with the title of the task."""

    title: Annotated[Text, StringConstraints(min_length=1, max_length=250)] | None = None
    draft: bool = False


class Concurrency(Message):
    """What has the same key does not run at the same time."""

    key: ConcurrencyKey
    policy: Literal["queue", "cancel-oldest", "reject"] = "queue"


class RetryPolicy(Message):
    """A run that has failed is followed by another one, as long as that may help."""

    attempts: Annotated[int, Field(ge=1, le=10)] = 1
    """Runs in all, before somebody is asked."""
    on: Annotated[
        tuple[Annotated[Text, StringConstraints(max_length=64, pattern=r"^[a-z_]+$")], ...],
        Field(max_length=20),
    ] = ()
    """Codes of errors, beside those that say themselves that it may be otherwise in a while."""


class TaskSpec(Message):
    """What is to be done, where, and within which bounds."""

    exec: ExecShell | None = None
    noop: NoopShell | None = None
    bot: ResourceName | None = None
    """One of its project, whose shell says what is done."""
    team: ResourceName | None = None
    """The same of several, one after the other."""
    agent: uuid.UUID | None = None
    """Who works on it, as the bot or the team that they are when it is created."""
    parameters: Parameters = Field(default_factory=dict)
    """For its programs, as variables of the same names."""
    repository: uuid.UUID | None = None
    base: Revision | None = None
    """Where it begins there; by default at the default branch."""
    branch: RefName | None = None
    """Where its changes go; by default a new one."""
    setup: SetupCommands = ()
    """Commands that it begins with, after those of the repository."""
    template: TemplateName = "base"
    limits: Limits = Limits()
    network: Network = "none"
    commits: Literal["squash", "keep"] = "squash"
    """Whether its changes become one commit, or those made inside stay, and what is left is the last."""
    pull_request: PullRequestOptions | Literal[False] = PullRequestOptions()
    workflow_files: Literal["refuse", "allow"] = "refuse"
    timeout: Seconds = 3600
    queue_timeout: Seconds = DAY
    wait_timeout: Seconds = DAY
    """How long it waits for a person."""
    retry: RetryPolicy = RetryPolicy()
    concurrency: Concurrency | None = None
    depends_on: Annotated[tuple[uuid.UUID, ...], Field(max_length=50)] = ()
    """Tasks that must have succeeded before."""
    attachments: AttachmentIds = ()
    """Files that its runs find in their sandboxes."""

    @model_validator(mode="after")
    def _has_one_shell(self) -> Self:
        shells = sum(shell is not None for shell in (self.exec, self.noop, self.bot, self.team))
        if shells != 1 and not (self.agent is not None and shells == 0):
            raise ValueError("a task says what is done, by one of `exec`, `bot`, `team`, `noop` and an agent")
        if self.agent is not None and (self.exec is not None or self.noop is not None):
            raise ValueError("an agent does what its bot or its team does")
        if self.repository is None and (self.base is not None or self.branch is not None):
            raise ValueError("`base` and `branch` are those of a `repository`")
        return self


class NewTask(Message):
    title: Title
    description: Description = ""
    priority: Priority = Priority.MEDIUM
    labels: Labels = Field(default_factory=dict)
    spec: TaskSpec


class Task(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    title: str
    description: str
    status: TaskStatus
    priority: Priority
    labels: dict[str, str]
    spec: TaskSpec
    attachments: tuple[TaskAttachment, ...] = ()
    run_id: uuid.UUID
    """Its newest run."""
    attempts: int
    error: RunError | None = None
    assigned_agent_id: uuid.UUID | None = None
    schedule_id: uuid.UUID | None = None
    """The one that has started it."""
    trigger_id: uuid.UUID | None = None
    """The same."""
    git_branch: str | None = None
    """Where its changes are, once they are there."""
    pull_request_url: str | None = None
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None


class CreateTask(Command[Task]):
    subject = "cmd.tasks.v1.create"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = _CREATED

    task: NewTask


class TaskList(Reply):
    items: tuple[Task, ...]


class CreateTasks(Command[TaskList]):
    """All of them, or none."""

    subject = "cmd.tasks.v1.create-many"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = _CREATED

    tasks: Annotated[tuple[NewTask, ...], Field(min_length=1, max_length=100)]


class GetTask(Query[Task]):
    subject = "qry.tasks.v1.get"
    grant = GrantScope.PROJECT
    refusals = TASK_NOT_FOUND

    task: uuid.UUID


class FindTask(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find"
    grant = GrantScope.NONE
    refusals = TASK_NOT_FOUND

    task: uuid.UUID


class TaskPage(Reply):
    items: tuple[Task, ...]
    next_cursor: str | None = None


class TaskOrder(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"
    UPDATED = "updated"
    """What has changed last comes first."""
    PRIORITY = "priority"
    """The most urgent, and of those the newest."""


class ListTasks(Query[TaskPage]):
    """Newest first, where nothing else is asked for."""

    subject = "qry.tasks.v1.list"
    grant = GrantScope.PROJECT

    status: TaskStatus | None = None
    priority: Priority | None = None
    repository: uuid.UUID | None = None
    label: Annotated[Text, StringConstraints(max_length=301)] | None = None
    """`name=value`, or a name alone."""
    created_by: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    schedule_id: uuid.UUID | None = None
    trigger_id: uuid.UUID | None = None
    q: Search | None = None
    """Words of the title or of the description."""
    sort: TaskOrder = TaskOrder.NEWEST
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class CancelTask(Command[Task]):
    """Answered when its run has ended."""

    subject = "cmd.tasks.v1.cancel"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND | {"already_ended": 409}

    task: uuid.UUID


class CancelTasks(Command[TaskList]):
    """All that have not ended, at once; answered before they have."""

    subject = "cmd.tasks.v1.cancel-many"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = TASK_NOT_FOUND

    tasks: Annotated[tuple[uuid.UUID, ...], Field(min_length=1, max_length=100)]


class UpdateTask(Command[Task]):
    """What is not named stays; how it is done was settled when it was created."""

    subject = "cmd.tasks.v1.update"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND

    task: uuid.UUID
    title: Title | None = None
    description: Description | None = None
    priority: Priority | None = None
    """Also of a run that waits for its turn."""
    labels: Labels | None = None


class DeleteTask(Command[Empty]):
    """With all that its runs have left here; what was pushed stays where it is."""

    subject = "cmd.tasks.v1.delete"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND | {"run_under_way": 409}

    task: uuid.UUID


class FollowUpTask(Command[Task]):
    """A new run that goes on from where the last one has come to: in a new sandbox, on its branch."""

    subject = "cmd.tasks.v1.follow-up"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = _AGAIN | {"environment_not_found": 404}

    task: uuid.UUID
    message: Annotated[Text, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S")]
    """What is wanted beyond; the first line is that of its commit."""
    exec: ExecShell | None = None
    """What is done; by default the same once more."""


class RetryTask(Command[Task]):
    """A new run of what did not succeed: in a new sandbox, to the same branch and pull request."""

    subject = "cmd.tasks.v1.retry"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = _AGAIN | {"already_succeeded": 409}

    task: uuid.UUID


class DuplicateTask(Command[Task]):
    """A new task that wants the same, on a branch of its own."""

    subject = "cmd.tasks.v1.duplicate"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND | _CREATED

    task: uuid.UUID
