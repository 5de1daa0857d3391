"""Contracts of the sandbox service: safe machines that programs run in."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import (
    Ask,
    Command,
    GrantScope,
    Message,
    Query,
    Reply,
    Text,
)
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

AREA = "sandboxes"
"""What an API token's scope calls all this."""
DAY = 24 * 3600
MAX_ENVIRONMENT = 48 * 1024
"""Bytes of all names and values together."""

_NOT_FOUND = {"sandbox_not_found": 404}
_CHANGED = _NOT_FOUND | {"sandbox_ended": 409, "superseded": 409, "no_capacity": 409}

Lifetime = Annotated[int, Field(ge=1, le=30 * DAY)]
"""Seconds, counted by the node."""
VariableName = Annotated[
    Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
]


def _fits(env: dict[str, SecretStr]) -> dict[str, SecretStr]:
    values = [value.get_secret_value() for value in env.values()]
    if any("\0" in value for value in values):
        raise ValueError("an environment has no NUL characters")
    size = sum(len(text.encode(errors="surrogatepass")) + 1 for text in (*env, *values))
    if size > MAX_ENVIRONMENT:
        raise ValueError(f"an environment has at most {MAX_ENVIRONMENT} bytes")
    return env


Environment = Annotated[dict[VariableName, SecretStr], Field(max_length=500), AfterValidator(_fits)]
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
    network: Literal["none"]
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
    refusals = {"unknown_template": 422, "owner_reserved": 403, "project_gone": 409}

    owned_by: SandboxOwner | None = Field(default=None, alias="owner")
    """For the service tasks alone: asked for again, it is answered with the same sandbox."""
    template: TemplateName = "base"
    workspace: SandboxWorkspace | None = None
    env: Environment = Field(default_factory=dict)
    """What each of its programs has in its environment."""
    limits: Limits = Limits()
    lifetime: Lifetime = 3600
    at_end: AtEnd = AtEnd.DESTROY
    network: Literal["none"] = "none"
    labels: Annotated[dict[LabelName, Label], Field(max_length=50)] = Field(default_factory=dict)
    keep_for: Annotated[int, Field(ge=0, le=7 * DAY)] = 0
    """Seconds that it stays for people to look at when its run has ended."""


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


# -- bytes ---------------------------------------------------------------------------------------------------

ProcessKey = Annotated[Text, StringConstraints(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
_PROCESSES = "/sandboxes/{sandbox}/processes"
EXECUTE = "sandbox.execute"


class Terminal(Message):
    rows: int = Field(default=24, ge=1, le=1000)
    cols: int = Field(default=80, ge=1, le=1000)


class Program(Message):
    """What is started."""

    argv: Annotated[tuple[Text, ...], Field(min_length=1, max_length=4096)]
    env: Annotated[dict[VariableName, Text], Field(max_length=500)] = Field(default_factory=dict)
    cwd: Annotated[Text, StringConstraints(min_length=1, max_length=4096)] | None = None
    user: Literal["user"] | None = None
    stdin: bool = False
    """Whether there is input to come; without, it finds none."""
    pty: Terminal | None = None
    timeout: Annotated[float, Field(gt=0, le=30 * DAY)] | None = None
    """Seconds until it is ended, with all that it has started."""
    hold: bool = False
    """Whether it waits for whoever reads, so that nothing is lost."""


class Freeze(Message):
    kill: bool = False
    """Whether all programs end; where they cannot be held otherwise they do all the same."""


class Frozen(Reply):
    killed: bool
    """Whether its programs were ended."""


class ProcessState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"


class Process(Reply):
    key: str
    pid: int
    argv: tuple[str, ...]
    started_at: datetime
    begin: int
    """The offset of the first byte of its output that is kept."""
    end: int
    confirmed: int
    input_taken: int
    state: ProcessState
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    """`exited`, `timeout` or `killed`."""


class ProcessList(Reply):
    items: tuple[Process, ...]


class OutputConfirmed(Reply):
    confirmed: int


class InputTaken(Reply):
    taken: int


class ConfirmOutput(Message):
    offset: int = Field(ge=0)


class SignalProcess(Message):
    signal: int = Field(ge=1, le=64)
    tree: bool = False
    """With SIGKILL: it and all that it has started, daemons included."""


FilePath = Annotated[Text, StringConstraints(min_length=1, max_length=4000)]


class FileType(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class FileEntry(Reply):
    path: str
    """As it was asked for, or beneath what was; bytes that are no text stand as `�`."""
    path_base64: str | None = None
    """Its bytes, where they are no text."""
    type: FileType
    size: int
    mode: str
    """As four octal digits."""
    modified_at: datetime
    target: str | None = None
    """Of a link."""


class FileList(Reply):
    items: tuple[FileEntry, ...]
    complete: bool
    """False where there is more than is listed at a time."""


class NewFolder(Message):
    path: FilePath
    parents: bool = False
    """Also what it lies in; then it may be there already."""


class MoveFile(Message):
    path: FilePath
    to: FilePath
    replace: bool = False


def _route(method: str, path: str, does: str, role: ProjectRole = ProjectRole.DEVELOPER) -> DataRoute:
    return DataRoute(method, path, does, least_role=role, area=AREA)


START_PROCESS = _route("PUT", _PROCESSES + "/{key}", EXECUTE)
LIST_PROCESSES = _route("GET", _PROCESSES, EXECUTE, ProjectRole.VIEWER)
GET_PROCESS = _route("GET", _PROCESSES + "/{key}", EXECUTE, ProjectRole.VIEWER)
READ_OUTPUT = _route("GET", _PROCESSES + "/{key}/output", EXECUTE, ProjectRole.VIEWER)
CONFIRM_OUTPUT = _route("POST", _PROCESSES + "/{key}/confirmed", EXECUTE)
WRITE_INPUT = _route("POST", _PROCESSES + "/{key}/input", EXECUTE)
SIGNAL_PROCESS = _route("POST", _PROCESSES + "/{key}/signal", EXECUTE)
RESIZE_TERMINAL = _route("POST", _PROCESSES + "/{key}/resize", EXECUTE)

FILES = "sandbox.files"
_FILES = "/sandboxes/{sandbox}/files"
READ_FILE = _route("GET", _FILES, FILES, ProjectRole.VIEWER)
WRITE_FILE = _route("PUT", _FILES, FILES)
REMOVE_FILE = _route("DELETE", _FILES, FILES)
LIST_FILES = _route("GET", "/sandboxes/{sandbox}/list", FILES, ProjectRole.VIEWER)
STAT_FILE = _route("GET", "/sandboxes/{sandbox}/stat", FILES, ProjectRole.VIEWER)
MAKE_FOLDER = _route("POST", "/sandboxes/{sandbox}/folders", FILES)
MOVE_FILE = _route("POST", "/sandboxes/{sandbox}/moves", FILES)
FREEZE = _route("POST", "/sandboxes/{sandbox}/freeze", "sandbox.export")
THAW = _route("POST", "/sandboxes/{sandbox}/thaw", "sandbox.export")
READ_CHANGES = _route("GET", "/sandboxes/{sandbox}/changes", "sandbox.export")
WRITE_CHANGES = _route("PUT", "/sandboxes/{sandbox}/changes", "sandbox.import")
