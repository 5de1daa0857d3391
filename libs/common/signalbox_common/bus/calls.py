"""What a handler is told about the message that it handles."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from signalbox_common.bus.audit import Asked, AuditTrail
from signalbox_common.bus.headers import NOWHERE, Client
from signalbox_common.cloudevents import EventContext
from signalbox_common.contracts.base import Reply
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError, Unauthenticated
from signalbox_common.inbox import Inbox, Outcome, R, RequestKey, Work
from signalbox_common.principal import Principal

Translate = Callable[[Exception], SignalboxError | None]
"""Turns an error of the service's domain into one that travels; None for anything else."""


@dataclass(frozen=True)
class Call:
    """A request, who sent it, and the way to take effect once."""

    asked: Asked
    translate: Translate
    client: Client = NOWHERE
    inbox: Inbox | None = None
    key: RequestKey | None = None
    audit: AuditTrail | None = None

    @property
    def principal(self) -> Principal:
        if self.asked.principal is None:
            raise Unauthenticated("A grant is needed.")
        return self.asked.principal

    async def once(self, work: Work[R]) -> Outcome[R]:
        """Runs the work in one transaction with the inbox row and the audit entry of this request."""
        trail = self.audit
        if self.inbox is None or self.key is None or trail is None:
            raise SignalboxError(f"{self.asked.contract.subject} changes nothing and has no inbox")

        def audited(
            transaction: Transaction, refused: SignalboxError | None, resource: str | None
        ) -> dict[str, Any]:
            return trail.row(transaction, self.asked, refused, resource)

        async def translated(transaction: Transaction) -> R:
            try:
                return await work(transaction)
            except Exception as error:
                known = self.translate(error)
                if known is None:
                    raise
                raise known from error

        return await self.inbox.once(self.key, translated, audited, operation=self.asked.operation)


@dataclass(frozen=True)
class FactCall:
    """A fact that is seen for the first time, inside the transaction that remembers it."""

    subject: str
    project: uuid.UUID | None
    context: EventContext
    transaction: Transaction


Handled = Reply | Outcome[Any]
Handler = Callable[[Call, Any], Awaitable[Handled]]
FactHandler = Callable[[FactCall, Any], Awaitable[None]]
