"""Contracts of the tasks service: what it tells of runs. It answers the contracts of every owner."""

import uuid
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from signalbox_common.contracts.base import Message
from signalbox_common.contracts.events import Event


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    SUPERSEDED = "superseded"
    AUTHORITY_ENDED = "authority_ended"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class RunError(Message):
    code: str
    detail: str
    retryable: bool = False


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
