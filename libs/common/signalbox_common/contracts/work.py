"""Work that a service goes on with after it has answered, as operators look at it."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from signalbox_common.contracts.base import Ask, Empty, GrantScope, Query, Reply


class WorkState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"


class WorkEntry(Reply):
    """One row of work."""

    id: int
    kind: str
    key: str
    state: WorkState
    project: uuid.UUID | None = None
    attempts: int
    epoch: int
    due_at: datetime
    created_at: datetime
    lease_owner: str | None = None
    lease_until: datetime | None = None
    target: str | None = None
    operation: str | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None


class WorkPage(Reply):
    """Rows in the order in which they were put there."""

    items: tuple[WorkEntry, ...]


class ListWork(Query[WorkPage]):
    subject = "qry.*.v1.list-work"
    grant = GrantScope.NONE
    operator = True

    state: WorkState | None = None
    after: int = Field(default=0, ge=0)
    """The id of the last row that is known already."""
    limit: int = Field(default=200, ge=1, le=500)


class GetWork(Query[WorkEntry]):
    subject = "qry.*.v1.get-work"
    grant = GrantScope.NONE
    operator = True

    id: int = Field(ge=1)


class RetryWork(Ask[WorkEntry]):
    """Tries it again now, as if it had never been tried."""

    subject = "ask.*.v1.retry-work"
    grant = GrantScope.NONE
    operator = True
    target = "id"

    id: int = Field(ge=1)


class DropWork(Ask[Empty]):
    """Takes it away, whoever works on it; an operation that waits for it fails."""

    subject = "ask.*.v1.drop-work"
    grant = GrantScope.NONE
    operator = True
    target = "id"

    id: int = Field(ge=1)
