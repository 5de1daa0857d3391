"""The audit log: who asked for which change, from where, and what came of it."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import GrantScope, Message, Moment, Query, Reply, Text
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

Word = Annotated[Text, StringConstraints(max_length=200)]


class AuditEntry(Reply):
    """One line; `hash` covers it together with the line before."""

    sequence: int
    id: uuid.UUID
    at: datetime
    action: str
    outcome: str
    code: str | None = None
    actor: uuid.UUID | None = None
    actor_name: str | None = None
    credential: str | None = None
    act: str | None = None
    """The service that acted for the actor, under a delegation."""
    resource: str | None = None
    project: uuid.UUID | None = None
    address: str | None = None
    correlation_id: str | None = None
    operation: str | None = None
    hash: str


class AuditPage(Reply):
    items: tuple[AuditEntry, ...]
    next_cursor: str | None = None


class AuditFilter(Message):
    """Newest first; `since` and `until` are times."""

    limit: int = Field(default=50, ge=1, le=500)
    cursor: Cursor | None = None
    actor: uuid.UUID | None = None
    action: Word | None = None
    """As a whole (`auth.create-project`), or all of a service (`auth.`)."""
    outcome: Literal["succeeded", "refused", "failed"] | None = None
    resource: Word | None = None
    since: Moment | None = None
    until: Moment | None = None


class ListAudit(AuditFilter, Query[AuditPage]):
    subject = "qry.auth.v1.list-audit"
    admin = True
    area = "audit"

    project: uuid.UUID | None = None


class ListProjectAudit(AuditFilter, Query[AuditPage]):
    subject = "qry.auth.v1.list-project-audit"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.OWNER
    area = "audit"


class AuditReport(Reply):
    """How far the chain was followed, and where it is broken."""

    checked: int
    last: int
    """The sequence number that was reached; ask again after it."""
    done: bool
    broken_at: int | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    """What does not break the chain, but should not be: notes of its end that are not auth's."""


class CheckAudit(Query[AuditReport]):
    subject = "qry.auth.v1.check-audit"
    grant = GrantScope.NONE
    operator = True

    after: int = Field(default=0, ge=0)
    limit: int = Field(default=5000, ge=1, le=20_000)
