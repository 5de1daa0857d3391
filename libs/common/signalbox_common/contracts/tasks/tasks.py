"""Tasks: what somebody wants done."""

import uuid
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.git import RefName, Revision, SetupCommands
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox import Limits, Network, TemplateName
from signalbox_common.contracts.tasks.base import (
    DAY,
    TASK_NOT_FOUND,
    Description,
    Labels,
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
    "too_many_queued": 429,
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


class TaskSpec(Message):
    """What is to be done, where, and within which bounds."""

    exec: ExecShell | None = None
    noop: NoopShell | None = None
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
    pull_request: PullRequestOptions | Literal[False] = PullRequestOptions()
    workflow_files: Literal["refuse", "allow"] = "refuse"
    timeout: Seconds = 3600
    queue_timeout: Seconds = DAY
    concurrency: Concurrency | None = None
    depends_on: Annotated[tuple[uuid.UUID, ...], Field(max_length=50)] = ()
    """Tasks that must have succeeded before."""

    @model_validator(mode="after")
    def _has_one_shell(self) -> Self:
        if (self.exec is None) == (self.noop is None):
            raise ValueError("a task says what is done: `exec` or `noop`")
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
    run_id: uuid.UUID
    """Its newest run."""
    attempts: int
    error: RunError | None = None
    assigned_agent_id: uuid.UUID | None = None
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


class ListTasks(Query[TaskPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list"
    grant = GrantScope.PROJECT

    status: TaskStatus | None = None
    priority: Priority | None = None
    repository: uuid.UUID | None = None
    q: Search | None = None
    """Words of the title."""
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


class RetryTask(Command[Task]):
    """A new run of what did not succeed: in a new sandbox, to the same branch and pull request."""

    subject = "cmd.tasks.v1.retry"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND | {
        "run_under_way": 409,
        "already_succeeded": 409,
        "project_gone": 409,
        "concurrency_busy": 409,
        "too_many_queued": 429,
        "disk_full": 507,
    }

    task: uuid.UUID


class DuplicateTask(Command[Task]):
    """A new task that wants the same, on a branch of its own."""

    subject = "cmd.tasks.v1.duplicate"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "task"
    refusals = TASK_NOT_FOUND | _CREATED

    task: uuid.UUID
