"""Sandboxes from their creation to their end."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Ask, Command, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import AREA, DAY, Environment, Lifetime
from signalbox_common.contracts.sandbox.network import Door, Doors, Network

_NOT_FOUND = {"sandbox_not_found": 404}
_CHANGED = _NOT_FOUND | {"sandbox_ended": 409, "superseded": 409, "no_capacity": 409}

Label = Annotated[Text, StringConstraints(max_length=200)]
LabelName = Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._/-]+$")]
OwnerName = Annotated[Text, StringConstraints(max_length=63, pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$")]
TemplateName = OwnerName


class SandboxWorkspace(Message):
    """The checkout that the workspace begins with; git has prepared it, or is about to."""

    checkout: uuid.UUID
    repository: uuid.UUID | None = None
    commit: Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")] | None = None
    branch: Annotated[Text, StringConstraints(max_length=255)] | None = None
    url: Annotated[Text, StringConstraints(max_length=2000)] | None = None
    """Of the repository, to be shown."""


class SandboxStatus(StrEnum):
    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    DESTROYED = "destroyed"
    FAILED = "failed"
    LOST = "lost"


class AtEnd(StrEnum):
    """What happens when its lifetime is over."""

    DESTROY = "destroy"
    PAUSE = "pause"


class Limits(Message):
    """None is what the node gives by itself."""

    memory_mb: Annotated[int, Field(ge=16, le=1024 * 1024)] | None = None
    cpus: Annotated[float, Field(ge=0.01, le=1024)] | None = None
    pids: Annotated[int, Field(ge=1, le=32_768)] | None = None
    disk_mb: Annotated[int, Field(ge=1, le=1024 * 1024)] | None = None
    open_files: Annotated[int, Field(ge=16, le=1_000_000)] | None = None
    file_size_mb: Annotated[int, Field(ge=1, le=1024 * 1024)] | None = None


class SandboxOwner(Message):
    """The run that it is for, and what it is called there."""

    run: uuid.UUID
    name: OwnerName = "main"


class Sandbox(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    template: str
    status: SandboxStatus
    reason: str | None = None
    """Why it is so, where it has ended or waits."""
    network: Network
    doors: tuple[Door, ...] = ()
    limits: Limits
    not_enforced: tuple[str, ...] = ()
    """Which of the limits that were asked for do not hold on its node."""
    at_end: AtEnd
    labels: dict[str, str] = Field(default_factory=dict)
    owner: SandboxOwner | None = None
    checkout: uuid.UUID | None = None
    node: str | None = None
    agent_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    repo_url: str | None = None
    branch_name: str | None = None
    created_by: uuid.UUID
    created_at: datetime
    deadline: datetime | None = None
    """While it runs: when its lifetime is over."""
    destroyed_at: datetime | None = None


class CreateSandbox(Ask[Sandbox]):
    """Answered when it runs, at the latest after four seconds as it is then."""

    subject = "ask.sandbox.v1.create"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    refusals = {
        "unknown_template": 422,
        "builds_on_base": 422,
        "owner_reserved": 403,
        "project_gone": 409,
        "network_not_allowed": 403,
        "run_ended": 409,
        "quota_exceeded": 429,
    }

    owned_by: SandboxOwner | None = Field(default=None, alias="owner")
    """For the service tasks alone: asked for again, it is answered with the same sandbox."""
    template: TemplateName = "base"
    builds: bool = False
    """Whether it may put programs below the prefix of templates, to be kept as one."""
    workspace: SandboxWorkspace | None = None
    env: Environment = Field(default_factory=dict)
    """What each of its programs has in its environment."""
    limits: Limits = Limits()
    lifetime: Lifetime = 3600
    at_end: AtEnd = AtEnd.DESTROY
    network: Network = "none"
    doors: Doors = ()
    labels: Annotated[dict[LabelName, Label], Field(max_length=50)] = Field(default_factory=dict)
    keep_for: Annotated[int, Field(ge=0, le=7 * DAY)] = 0
    """Seconds that it stays, for somebody to look at, when the run of its owner has ended."""


class GetSandbox(Query[Sandbox]):
    """By its id, or by its owner."""

    subject = "qry.sandbox.v1.get"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _NOT_FOUND

    sandbox: uuid.UUID | None = None
    owned_by: SandboxOwner | None = Field(default=None, alias="owner")


class SandboxPage(Reply):
    items: tuple[Sandbox, ...]
    next_cursor: str | None = None


class ListSandboxes(Query[SandboxPage]):
    """Newest first; those that have ended are listed for a month."""

    subject = "qry.sandbox.v1.list"
    grant = GrantScope.PROJECT
    area = AREA

    status: SandboxStatus | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class SandboxPlace(Reply):
    project: uuid.UUID


class FindSandbox(Query[SandboxPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.sandbox.v1.find"
    grant = GrantScope.NONE
    refusals = _NOT_FOUND

    sandbox: uuid.UUID


class SandboxLocation(Reply):
    node: str
    url: str
    """Of the data plane of an instance there."""
    state: SandboxStatus


class LocateSandbox(Query[SandboxLocation]):
    subject = "qry.sandbox.v1.locate"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _NOT_FOUND | {"sandbox_ended": 409, "sandbox_paused": 409, "not_running_yet": 409}

    sandbox: uuid.UUID


class PauseSandbox(Command[Sandbox]):
    """Its programs stop where they are, and go on when it is resumed; when its node restarts meanwhile they
    are gone, and its files are there. It has all its time again then."""

    subject = "cmd.sandbox.v1.pause"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "sandbox"
    refusals = _CHANGED

    sandbox: uuid.UUID


class ResumeSandbox(Command[Sandbox]):
    subject = "cmd.sandbox.v1.resume"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "sandbox"
    refusals = _CHANGED

    sandbox: uuid.UUID


class DestroySandbox(Command[Sandbox]):
    """With all that is in it; one that has ended already stays as it is."""

    subject = "cmd.sandbox.v1.destroy"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "sandbox"
    refusals = _CHANGED

    sandbox: uuid.UUID


class SetSandboxDeadline(Command[Sandbox]):
    """From now on it has that many seconds."""

    subject = "cmd.sandbox.v1.set-deadline"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "sandbox"
    refusals = _CHANGED

    sandbox: uuid.UUID
    lifetime: Lifetime


class SetSandboxNetwork(Command[Sandbox]):
    """Holds for open connections, too; programs that were started without a way out do not look for one."""

    subject = "cmd.sandbox.v1.set-network"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "sandbox"
    refusals = _CHANGED | {"network_not_allowed": 403}

    sandbox: uuid.UUID
    network: Network


class SandboxChanged(Event):
    """One subject for all states; what has no greater version than the last one is old news."""

    subject = "evt.*.sandbox.sandbox.changed"

    sandbox: uuid.UUID
    owner: SandboxOwner | None = None
    checkout: uuid.UUID | None = None
    state: SandboxStatus
    reason: str | None = None
    node: str | None = None
    deadline: datetime | None = None
    version: int
