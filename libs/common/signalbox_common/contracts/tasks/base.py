"""What the contracts of tasks have in common."""

import uuid
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Message, Reply, Text
from signalbox_common.contracts.sandbox.base import VariableName

DAY = 24 * 3600
TASK_NOT_FOUND = {"task_not_found": 404}
RUN_NOT_FOUND = {"run_not_found": 404}

ONE_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
Title = Annotated[Text, StringConstraints(min_length=1, max_length=500, pattern=ONE_LINE)]
Description = Annotated[Text, StringConstraints(max_length=100_000)]
Label = Annotated[Text, StringConstraints(max_length=200)]
LabelName = Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._/-]+$")]
Labels = Annotated[dict[LabelName, Label], Field(max_length=50)]
Parameters = Annotated[
    dict[VariableName, Annotated[Text, StringConstraints(max_length=10_000)]], Field(max_length=100)
]
Seconds = Annotated[int, Field(ge=1, le=30 * DAY)]


class Priority(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class TaskStatus(StrEnum):
    """That of its newest run; `pending` while that is queued."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    SUPERSEDED = "superseded"
    AUTHORITY_ENDED = "authority_ended"


class RunError(Message):
    code: str
    detail: str
    retryable: bool = False


class TaskPlace(Reply):
    project: uuid.UUID
