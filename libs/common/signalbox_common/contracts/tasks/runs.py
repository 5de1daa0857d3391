"""Runs: each attempt at a task, step by step."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks.base import RUN_NOT_FOUND, TASK_NOT_FOUND, RunError, RunState, TaskPlace


class StepName(StrEnum):
    AUTHORITY = "authority"
    RESOLVE = "resolve"
    PREPARE = "prepare"
    SANDBOX = "sandbox"
    SETUP = "setup"
    SHELL = "shell"
    COLLECT = "collect"
    DELIVER = "deliver"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    """The run has ended before it came to this."""


class RunStep(Message):
    name: StepName
    state: StepState
    started_at: datetime | None = None
    finished_at: datetime | None = None
    detail: str | None = None
    """What came of it, in a few words."""
    error: RunError | None = None


class RunResult(Message):
    """What its program ended with."""

    exit_code: int | None = None
    signal: int | None = None


class ModelUsage(Message):
    """What a run has used of one model."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float


class RunUsage(Message):
    """What a run has used of all models, until now."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    models: tuple[ModelUsage, ...] = ()


class Run(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    task_id: uuid.UUID
    attempt: int
    message: str | None = None
    """What was wanted of this one beyond the task."""
    status: RunState
    step: StepName | None = None
    percent: int
    """Of its steps that are done, and of the bots in this one; not of its time."""
    waiting_for: str | None = None
    """Why it does not go on: `dependencies`, `key` while another one has its concurrency key, `agent` while
    that one has enough to do, `turn` while other runs of its project come first; `confirmation` where a
    person says whether it goes on."""
    agent_id: uuid.UUID | None = None
    bots: tuple[str, ...] = ()
    """Who works on it, one after the other, once that is known."""
    bot: str | None = None
    """Who does at the moment, or did last."""
    stop_reason: str | None = None
    error: RunError | None = None
    result: RunResult | None = None
    note: str | None = None
    """What was asked for and cannot be there, or that there was nothing to deliver."""
    sandbox_id: uuid.UUID | None = None
    base: str | None = None
    """The commit that it began with."""
    restored_from: uuid.UUID | None = None
    """The run before, from whose last checkpoint it goes on: the sandbox of that one was lost."""
    branch: str | None = None
    commit: str | None = None
    pull_request_url: str | None = None
    log_bytes: int = 0
    usage: RunUsage = RunUsage()
    created_by: uuid.UUID
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int


class RunList(Reply):
    items: tuple[Run, ...]
    next_cursor: str | None = None


class RunSteps(Reply):
    items: tuple[RunStep, ...]


class Artifact(Message):
    """What has come out of a run, and stays."""

    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


class ArtifactList(Reply):
    items: tuple[Artifact, ...]


class GetRun(Query[Run]):
    subject = "qry.tasks.v1.get-run"
    grant = GrantScope.PROJECT
    refusals = RUN_NOT_FOUND

    run: uuid.UUID


class FindRun(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-run"
    grant = GrantScope.NONE
    refusals = RUN_NOT_FOUND

    run: uuid.UUID


class ListRuns(Query[RunList]):
    """Newest first."""

    subject = "qry.tasks.v1.list-runs"
    grant = GrantScope.PROJECT
    refusals = TASK_NOT_FOUND

    task: uuid.UUID
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class GetRunSteps(Query[RunSteps]):
    """In their order, those that are to come included."""

    subject = "qry.tasks.v1.get-run-steps"
    grant = GrantScope.PROJECT
    refusals = RUN_NOT_FOUND

    run: uuid.UUID


class ListArtifacts(Query[ArtifactList]):
    subject = "qry.tasks.v1.list-artifacts"
    grant = GrantScope.PROJECT
    refusals = RUN_NOT_FOUND

    run: uuid.UUID


class DeliverRun(Command[Run]):
    """Delivers once more what a run has left, where it has not been delivered: a new run, which begins
    with that and runs no program."""

    subject = "cmd.tasks.v1.deliver-run"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "run"
    refusals = RUN_NOT_FOUND | {
        "run_under_way": 409,
        "nothing_to_deliver": 409,
        "already_delivered": 409,
        "project_gone": 409,
        "concurrency_busy": 409,
        "quota_exceeded": 429,
        "already_done": 409,  # longer ago than its answer is kept
        "disk_full": 507,
    }

    run: uuid.UUID
    findings: Literal["refuse", "allow"] | None = None
    """`allow` is for maintainers; by default as it was asked for before."""
    workflow_files: Literal["refuse", "allow"] | None = None
    commits: Literal["squash"] | None = None
    """Makes one of those that were to be kept."""


class AnswerRun(Command[Run]):
    """Whether a run that waits for a person goes on; refused, it ends as cancelled."""

    subject = "cmd.tasks.v1.answer-run"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "run"
    refusals = RUN_NOT_FOUND | {"not_waiting": 409}

    run: uuid.UUID
    approve: bool
    message: Annotated[Text, StringConstraints(max_length=10_000)] = ""
    """For whoever goes on."""


class TasksPlace(Reply):
    url: str
    """Of the data plane of an instance."""


class LocateTasks(Query[TasksPlace]):
    subject = "qry.tasks.v1.locate"
    grant = GrantScope.PROJECT
