"""What becomes of a command, as its owner knows it, and how an operator hands it over again."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from signalbox_common.contracts.base import Ask, Command, Failure, GrantScope, Query, Reply


class OperationStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_ACCEPTED = "not_accepted"


class OperationReport(Reply):
    """What the owner of a command knows about it."""

    status: OperationStatus
    command: str
    resource: str | None = None
    error: Failure | None = None
    finished_at: datetime | None = None


class GetOperation(Query[OperationReport]):
    """Asked by the gateway only, which has checked who may know."""

    subject = "qry.*.v1.operation"
    grant = GrantScope.NONE

    command_id: uuid.UUID
    command: str
    accepted_before: datetime
    """When the gateway handed the command over, by its own clock."""


class CancelOperation(Ask[OperationReport]):
    """Ends a pending operation, where its owner allows it. For who asked for it, or maintainers of its
    project, as long as they may ask for the same."""

    subject = "ask.*.v1.cancel-operation"
    grant = GrantScope.PROJECT
    target = "command_id"
    refusals: ClassVar[Mapping[str, int]] = {
        "operation_not_found": 404,
        "already_ended": 409,
        "not_cancellable": 409,
    }

    command_id: uuid.UUID


class RedriveResult(Reply):
    """What became of a dead letter that was handed to its handler again."""

    sequence: int
    outcome: str
    failure: Failure | None = None


class Redrive(Command[RedriveResult]):
    """Sent by operators only: no other NATS user may publish it."""

    subject = "cmd.*.v1.redrive"
    grant = GrantScope.NONE
    operator = True
    target = "sequence"

    sequence: int = Field(ge=1)
