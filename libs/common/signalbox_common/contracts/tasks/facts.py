"""What tasks tells of runs: facts that others go by, and progress for whoever watches."""

import uuid
from typing import Annotated

from pydantic import Field

from signalbox_common.contracts.events import Event, ProgressEvent
from signalbox_common.contracts.tasks.base import RunError, RunState, StopReason
from signalbox_common.contracts.tasks.runs import StepName


class RunChanged(Event):
    """One subject for all states; what has no greater version than the last one is old news."""

    subject = "evt.*.tasks.run.changed"

    run: uuid.UUID
    task: uuid.UUID
    attempt: int
    state: RunState
    step: StepName | None = None
    """Where it is, or was when it ended."""
    percent: int
    """Of its steps, and of the bots in that one; not of its time."""
    waiting_for: str | None = None
    bot: str | None = None
    agent: uuid.UUID | None = None
    error: RunError | None = None
    branch: str | None = None
    commit: str | None = None
    pull_request_url: str | None = None
    version: int


class RunStopRequested(Event):
    """What a run has begun ends now, and it begins nothing more."""

    subject = "evt.*.tasks.run.stop-requested"

    run: uuid.UUID
    reason: StopReason
    grace: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Seconds in which its programs may end by themselves."""


class RunEnded(Event):
    """There is nothing more to come of it."""

    subject = "evt.*.tasks.run.ended"

    run: uuid.UUID
    task: uuid.UUID
    state: RunState
    error: RunError | None = None
    keep_sandbox: bool = False
    """Whether its sandboxes stay for an hour, for somebody to look at."""


class RunLogged(ProgressEvent):
    """What its programs say. The number is the offset behind it in the log of the run, where it stands
    before it is told."""

    subject = "evt.*.tasks.run.logged"

    run: uuid.UUID
    task: uuid.UUID
    step: StepName
    stream: str
    """`stdout`, `stderr`, or `note`, which the platform says itself."""
    offset: int
    text: str
