"""Agents: who works in a project, on what, and how well."""

import uuid
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Command, Empty, GrantScope, Query, Reply, Text
from signalbox_common.contracts.catalog import ResourceName
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks.base import ONE_LINE, RunState, TaskPlace

AGENT_NOT_FOUND = {"agent_not_found": 404}
LONGEST_RANGE = 366
"""Days that metrics are asked for at a time."""

AgentName = Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]
AgentRole = Annotated[Text, StringConstraints(max_length=2000)]
AvatarUrl = Annotated[Text, StringConstraints(max_length=2000, pattern=r"^https?://[^\s\x00-\x1f]+$")]
AgentConcurrency = Annotated[int, Field(ge=1, le=1000)]
ActivityType = Annotated[Text, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_.-]*$")]
ActivityMessage = Annotated[Text, StringConstraints(max_length=4000)]


class AgentStatus(StrEnum):
    """What it comes to at the moment; the first that holds."""

    BUSY = "busy"
    """Something that it works on runs."""
    WAITING = "waiting"
    """What it works on waits: for a person, or for its turn."""
    OFFLINE = "offline"
    """Nothing can run it: its bot or its team is not there, or is not run here."""
    ERROR = "error"
    """Its last runs have failed, one after the other."""
    IDLE = "idle"


class Agent(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    role: str
    status: AgentStatus
    reason: str | None = None
    """Why it is offline, or in error."""
    bot: str | None = None
    team: str | None = None
    concurrency: int | None = None
    """Runs at a time; without it as many as its project has room for."""
    current_task_id: uuid.UUID | None = None
    """What it has begun last, and works on."""
    sandbox_id: uuid.UUID | None = None
    running: int
    queued: int
    runs: int
    """That have ended."""
    success_rate: float | None = None
    avatar_url: str | None = None
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime


class CreateAgent(Command[Agent]):
    subject = "cmd.tasks.v1.create-agent"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = {"project_gone": 409, "agent_exists": 409, "too_many_agents": 429}

    name: AgentName
    role: AgentRole = ""
    avatar_url: AvatarUrl | None = None
    bot: ResourceName | None = None
    team: ResourceName | None = None
    concurrency: AgentConcurrency | None = None

    @model_validator(mode="after")
    def _works_as_one(self) -> Self:
        if (self.bot is None) == (self.team is None):
            raise ValueError("an agent works as a `bot` or as a `team`")
        return self


class UpdateAgent(Command[Agent]):
    """What is not named stays; tasks that are there keep the bot or team that it was by then."""

    subject = "cmd.tasks.v1.update-agent"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "agent"
    refusals = AGENT_NOT_FOUND | {"agent_exists": 409}

    agent: uuid.UUID
    name: AgentName | None = None
    role: AgentRole | None = None
    avatar_url: AvatarUrl | None = None
    bot: ResourceName | None = None
    team: ResourceName | None = None
    concurrency: AgentConcurrency | None = None
    clear: Annotated[tuple[Literal["avatar_url", "concurrency"], ...], Field(max_length=2)] = ()
    """Which of these go."""

    @model_validator(mode="after")
    def _works_as_one(self) -> Self:
        if self.bot is not None and self.team is not None:
            raise ValueError("an agent works as a `bot` or as a `team`")
        return self


class DeleteAgent(Command[Empty]):
    """With its activity and its metrics; its tasks stay."""

    subject = "cmd.tasks.v1.delete-agent"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "agent"
    refusals = AGENT_NOT_FOUND | {"agent_busy": 409}

    agent: uuid.UUID


class GetAgent(Query[Agent]):
    subject = "qry.tasks.v1.get-agent"
    grant = GrantScope.PROJECT
    refusals = AGENT_NOT_FOUND

    agent: uuid.UUID


class FindAgent(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-agent"
    grant = GrantScope.NONE
    refusals = AGENT_NOT_FOUND

    agent: uuid.UUID


class AgentPage(Reply):
    items: tuple[Agent, ...]
    next_cursor: str | None = None


class ListAgents(Query[AgentPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-agents"
    grant = GrantScope.PROJECT

    q: Search | None = None
    """Words of the name or of the role."""
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


# -- what it did -------------------------------------------------------------------------------------------


class Activity(Reply):
    id: int
    type: str
    message: str
    data: dict[str, Any]
    run_id: uuid.UUID | None = None
    created_by: uuid.UUID | None = None
    """None for what was noted by itself."""
    created_at: datetime


class AppendActivity(Command[Activity]):
    subject = "cmd.tasks.v1.append-activity"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "agent"
    refusals = AGENT_NOT_FOUND | {"activity_too_large": 413}

    agent: uuid.UUID
    type: ActivityType = "note"
    message: ActivityMessage = ""
    data: dict[str, Any] = Field(default_factory=dict)


class ActivityPage(Reply):
    items: tuple[Activity, ...]
    next_cursor: str | None = None


class ListActivity(Query[ActivityPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-activity"
    grant = GrantScope.PROJECT
    refusals = AGENT_NOT_FOUND

    agent: uuid.UUID
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Execution(Reply):
    """One run of an agent, as its history has it."""

    id: uuid.UUID
    """Of the run."""
    task_id: uuid.UUID
    title: str
    attempt: int
    status: RunState
    error: str | None = None
    """Its code."""
    branch: str | None = None
    pull_request_url: str | None = None
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None


class ExecutionPage(Reply):
    items: tuple[Execution, ...]
    next_cursor: str | None = None


class ListExecutions(Query[ExecutionPage]):
    """Newest first, as long as the tasks are kept."""

    subject = "qry.tasks.v1.list-executions"
    grant = GrantScope.PROJECT
    refusals = AGENT_NOT_FOUND

    agent: uuid.UUID
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AgentDay(Reply):
    """Of the runs that ended on a day (UTC)."""

    day: date
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int


class AgentMetrics(Reply):
    since: date
    until: date
    """The last day that counts."""
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    success_rate: float | None = None
    """Of those that succeeded, failed or ran out of time; cancelling says nothing of an agent."""
    duration_p50: float | None = None
    duration_p95: float | None = None
    """Seconds from begin to end, of those that have begun; no more than 2 % off."""
    tokens: int
    cost: float
    days: tuple[AgentDay, ...] = ()
    """Those with runs."""


class GetAgentMetrics(Query[AgentMetrics]):
    """From what was counted when each run ended: they outlive the tasks."""

    subject = "qry.tasks.v1.agent-metrics"
    grant = GrantScope.PROJECT
    refusals = AGENT_NOT_FOUND

    agent: uuid.UUID
    since: date | None = None
    """By default 30 days."""
    until: date | None = None


class AgentChanged(Event):
    """Created, or changed by somebody; how its runs go on is told of those."""

    subject = "evt.*.tasks.agent.changed"

    agent: uuid.UUID
    name: str
    version: int


class AgentDeleted(Event):
    subject = "evt.*.tasks.agent.deleted"

    agent: uuid.UUID
