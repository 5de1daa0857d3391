"""Facts of other services, each seen once."""

import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from signalbox_common import cloudevents, telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.calls import FactCall, FactHandler, FactsHandler
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.durable import Delivery, DurableConsumer, PermanentFailure
from signalbox_common.cloudevents import EventContext
from signalbox_common.contracts.base import PLATFORM
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.contracts.streams import FactConsumer as FactRow
from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.settings import OwnerSettings

BATCH = 100


class FactConsumer(DurableConsumer):
    """Reads the facts of another service, each once; what has come together is handled in one transaction."""

    stream = EVENTS.name
    batch = True

    def __init__(
        self,
        connection: Connection,
        settings: OwnerSettings,
        inbox: Inbox,
        row: FactRow,
        handler: FactsHandler,
        *,
        database: Database,
        linger: float = 0.0,
    ) -> None:
        super().__init__(connection, settings, inbox)
        self.contract = row.event
        self.subject = row.subject
        self.consumer = row.name
        self.dead_letter_prefix = f"dlq.{row.name}"
        self.room = BATCH
        self.linger = linger
        self._handler = handler
        self._database = database

    async def handle(self, delivery: Delivery) -> None:
        await self.handle_all([delivery])

    async def handle_all(self, deliveries: Sequence[Delivery]) -> None:
        facts = [self._decoded(delivery) for delivery in deliveries]
        async with self._database.transaction() as transaction:
            new = await self.inbox.first_sights(
                transaction, self.consumer, [context.id for context, _ in facts]
            )
            calls = []
            for delivery, (context, event) in zip(deliveries, facts, strict=True):
                if context.id in new:
                    new.remove(context.id)  # the same fact may stand twice in one batch
                    project = project_of(delivery.subject)
                    calls.append((FactCall(delivery.subject, project, context, transaction), event))
            if calls:
                await self._handler(calls)

    def _decoded(self, delivery: Delivery) -> tuple[EventContext, Event]:
        try:
            context = cloudevents.context_of(delivery.headers)
            event = self.contract.decoded(delivery.body)
            project_of(delivery.subject)
        except ValidationError as error:
            raise PermanentFailure(
                "malformed", f"{error.error_count()} errors: {error.errors()[0]['msg']}"
            ) from error
        except ValueError as error:
            raise PermanentFailure("malformed", str(error)) from error
        return context, event


def one_by_one(handler: FactHandler) -> FactsHandler:
    """Hands facts over each in the name of who caused it."""

    async def handle(facts: Sequence[tuple[FactCall, Any]]) -> None:
        for call, event in facts:
            call.transaction.actor = call.context.actor
            call.transaction.operation = call.context.operation
            h.adopt(call.context.correlation_id)
            telemetry.project_id.set(str(call.project) if call.project is not None else None)
            await handler(call, event)

    return handle


def project_of(subject: str) -> uuid.UUID | None:
    """The project of an event is what its subject says, never its headers."""
    token = subject.split(".")[1]
    if token == PLATFORM:
        return None
    if not is_canonical_uuid(token):
        raise PermanentFailure("malformed", f"{token} is no project")
    return uuid.UUID(token)
