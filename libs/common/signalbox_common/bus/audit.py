"""What the audit log is told: every change that was asked for, together with what came of it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from signalbox_common import outbox, telemetry
from signalbox_common.bus import headers as h
from signalbox_common.contracts.base import Query, Request
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.principal import Principal

log = telemetry.get_logger()

SUCCEEDED, REFUSED = "succeeded", "refused"
_RESOURCE_LENGTH = 200


@dataclass(frozen=True)
class AuditedRequest:
    """A change that somebody asked for."""

    contract: type[Request[Any]]
    request: Request[Any]
    principal: Principal | None
    operation: str | None = None
    project: uuid.UUID | None = None
    """What it turned out to be about, where the grant does not say."""

    def entry(
        self,
        service: str,
        error: SignalboxError | None,
        *,
        resource: str | None = None,
        actor: uuid.UUID | None = None,
        actor_name: str | None = None,
    ) -> AuditRecorded:
        principal = self.principal
        named = resource or self._target() or (error.resource if error is not None else None)
        return AuditRecorded(
            action=self.contract.verb(service),
            at=datetime.now(UTC),
            outcome=SUCCEEDED if error is None else REFUSED,
            code=error.code if error is not None else None,
            actor=principal.user_id if principal else actor,
            actor_name=principal.username if principal else actor_name,
            credential=principal.credential if principal else None,
            act=principal.act if principal else None,
            resource=named[:_RESOURCE_LENGTH] if named else None,
            project=self.project or (principal.project_id if principal else None),
            address=h.client.get().address,
            correlation_id=telemetry.correlation_id.get(),
            operation=self.operation,
        )

    def leaves_a_line(self, error: SignalboxError | None) -> bool:
        """Reads leave none, nor what anybody may cause any number of times without saying who they are."""
        if issubclass(self.contract, Query):
            return False
        return error is None or error.code not in self.contract.unrecorded

    def _target(self) -> str | None:
        """What the request itself says that it is about."""
        if self.contract.target is None:
            return None
        value = getattr(self.request, self.contract.target)
        return None if value is None else str(value)


class AuditTrail:
    """Writes entries into the outbox of one service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self,
        transaction: Transaction,
        asked: AuditedRequest,
        error: SignalboxError | None,
        resource: str | None,
    ) -> None:
        """Tells of a change in the transaction that makes it, or of its refusal."""
        entry = self.entry(transaction, asked, error, resource)
        outbox.emit(transaction, self._database.schema, entry, project=None)

    def entry(
        self,
        transaction: Transaction,
        asked: AuditedRequest,
        error: SignalboxError | None,
        resource: str | None,
    ) -> AuditRecorded:
        """What `note` writes, for those who write it later."""
        return asked.entry(
            self._database.schema,
            error,
            resource=resource,
            actor=transaction.actor,
            actor_name=transaction.actor_name,
        )

    def note_parts(
        self, transaction: Transaction, asked: AuditedRequest, parts: Sequence[tuple[str, uuid.UUID]]
    ) -> None:
        """Many changes that were asked for at once, each with its project."""
        schema = self._database.schema
        for resource, project in parts:
            entry = asked.entry(schema, None, resource=resource).model_copy(update={"project": project})
            outbox.emit(transaction, schema, entry, project=None)

    async def refused(self, asked: AuditedRequest, error: SignalboxError, about: str | None = None) -> None:
        """A refusal that came before any transaction of the change."""
        await self._note(asked, error, about)

    async def succeeded(self, asked: AuditedRequest) -> None:
        """A change whose transactions were others' than the request's."""
        await self._note(asked, None, None)

    async def _note(self, asked: AuditedRequest, error: SignalboxError | None, about: str | None) -> None:
        if not asked.leaves_a_line(error):
            return
        try:
            async with self._database.transaction(operation=asked.operation) as transaction:
                entry = asked.entry(self._database.schema, error, resource=about)
                outbox.emit(transaction, self._database.schema, entry, project=None)
        except Exception as lost:  # noqa: BLE001 - nothing was changed; that this is not recorded must not hide the answer
            log.warning("audit entry lost", action=asked.contract.subject, reason=repr(lost)[:300])
