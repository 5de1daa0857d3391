"""What becomes of a command, as its owner knows it, and how an operator hands it over again."""

import uuid
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from signalbox_common.contracts.base import Command, Failure, GrantScope, Query, Reply


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
