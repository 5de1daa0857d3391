"""Programs in sandboxes, and what goes in and comes out of them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Message, Reply, Text
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import DAY, VariableName, data_route

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
    """`exited`, `timeout`, `stopped` with its run, or `disk` where the sandbox had more there than it may."""


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


START_PROCESS = data_route("PUT", _PROCESSES + "/{key}", EXECUTE)
LIST_PROCESSES = data_route("GET", _PROCESSES, EXECUTE, ProjectRole.VIEWER)
GET_PROCESS = data_route("GET", _PROCESSES + "/{key}", EXECUTE, ProjectRole.VIEWER)
READ_OUTPUT = data_route("GET", _PROCESSES + "/{key}/output", EXECUTE, ProjectRole.VIEWER)
CONFIRM_OUTPUT = data_route("POST", _PROCESSES + "/{key}/confirmed", EXECUTE)
WRITE_INPUT = data_route("POST", _PROCESSES + "/{key}/input", EXECUTE)
SIGNAL_PROCESS = data_route("POST", _PROCESSES + "/{key}/signal", EXECUTE)
RESIZE_TERMINAL = data_route("POST", _PROCESSES + "/{key}/resize", EXECUTE)
