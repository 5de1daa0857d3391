"""What a handler is told about the message that it handles."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from signalbox_common.bus.audit import AuditedRequest, AuditTrail
from signalbox_common.bus.headers import NOWHERE, Client
from signalbox_common.cloudevents import EventContext
from signalbox_common.contracts.base import Reply, Request
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError, Unauthenticated
from signalbox_common.inbox import Inbox, RequestKey, Work
from signalbox_common.outcomes import Deferred, Outcome, R
from signalbox_common.principal import Principal


@dataclass(frozen=True)
class Call:
    """A request, who sent it, and the transaction in which it takes effect once."""

    asked: AuditedRequest
    client: Client = NOWHERE
    inbox: Inbox | None = None
    key: RequestKey | None = None
    audit: AuditTrail | None = None
    open: Transaction | None = field(default=None, repr=False)
    grant: str | None = field(default=None, repr=False)
    """What the request was granted with: a proof for others of whom it is for."""
    accepted_at: datetime | None = None
    """When the stream took it, where it is a command: the proof is good as of then."""

    def about(self, digest: str) -> "Call":
        """The same request, where only its handler can tell what makes it differ from another one."""
        key = replace(self.key, digest=f"{self.key.digest}:{digest}") if self.key is not None else None
        return replace(self, key=key)

    def within(self, project: uuid.UUID) -> "Call":
        """The same request, which is about that project as only its handler can tell."""
        return replace(self, asked=replace(self.asked, project=project))

    @property
    def transaction(self) -> Transaction:
        """What the bus has opened for this change: it holds the inbox row, and will hold the answer."""
        if self.open is None:
            raise SignalboxError(f"{self.asked.contract.subject} has no transaction open")
        return self.open

    @property
    def command_id(self) -> uuid.UUID:
        """The id under which this change is done once, for whatever goes on with it later."""
        return self._remembered()[1].command_id

    @property
    def principal(self) -> Principal:
        if self.asked.principal is None:
            raise Unauthenticated("A grant is needed.")
        return self.asked.principal

    async def replayed(self) -> Outcome[Any] | None:
        """What this request was answered before: for those who look at something before they take effect."""
        if self.inbox is None or self.key is None or not self.key.remembered:
            return None
        return await self.inbox.replayed(self.key)

    def note_parts(self, transaction: Transaction, parts: Sequence[tuple[str, uuid.UUID]]) -> None:
        """An entry of its own for each resource, with its project, that is changed beside the request's."""
        if self.audit is not None:
            self.audit.note_parts(transaction, self.asked, parts)

    async def take_effect(self, handler: "Handler", request: Request[Any]) -> Outcome[Any]:
        """Runs a use case in the transaction of this request."""

        async def work(transaction: Transaction) -> Reply | Deferred:
            reply = await handler(replace(self, open=transaction), request)
            if isinstance(reply, Outcome):
                raise TypeError(f"{self.asked.contract.subject} opened a transaction of its own")
            return reply

        return await self.once(work)

    async def once(self, work: Work[R]) -> Outcome[R]:
        """Runs the work in one transaction with the inbox row and the audit entry of this request.

        For use cases with something to do before: hashing, looking elsewhere. All others find it open.
        """
        inbox, key = self._remembered()

        return await inbox.once(key, work, _AuditLine(self), operation=self.asked.operation)

    async def refuse(self, refusal: SignalboxError) -> Outcome[Any]:
        """Stored like any other answer, so that its operation knows it and it is written down once."""
        inbox, key = self._remembered()
        return await inbox.refuse(key, refusal, _AuditLine(self), operation=self.asked.operation)

    def _remembered(self) -> tuple[Inbox, RequestKey]:
        if self.inbox is None or self.key is None:
            raise SignalboxError(f"{self.asked.contract.subject} changes nothing and has no inbox")
        return self.inbox, self.key


@dataclass(frozen=True)
class _AuditLine:
    """What the audit log is told of one call."""

    call: Call

    def note(self, transaction: Transaction, refused: SignalboxError | None, resource: str | None) -> None:
        if self.call.audit is not None:
            self.call.audit.note(transaction, self.call.asked, refused, resource)

    def entry(self, transaction: Transaction, resource: str | None) -> AuditRecorded | None:
        if self.call.audit is None:
            return None
        return self.call.audit.entry(transaction, self.call.asked, None, resource)


@dataclass(frozen=True)
class FactCall:
    """A fact that is seen for the first time, inside the transaction that remembers it."""

    subject: str
    project: uuid.UUID | None
    context: EventContext
    transaction: Transaction


Handled = Reply | Outcome[Any] | Deferred
Handler = Callable[[Call, Any], Awaitable[Handled]]
FactHandler = Callable[[FactCall, Any], Awaitable[None]]
FactsHandler = Callable[[Sequence[tuple[FactCall, Any]]], Awaitable[None]]
"""Takes facts that have come together, all in one transaction."""
