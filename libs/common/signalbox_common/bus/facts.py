"""Facts of other services, each seen once."""

import uuid

from pydantic import ValidationError

from signalbox_common import cloudevents, telemetry
from signalbox_common.bus.calls import FactCall, FactHandler
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.durable import Delivery, DurableConsumer, Hopeless
from signalbox_common.contracts.base import PLATFORM, Event
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.contracts.streams import FactConsumer as FactRow
from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.settings import OwnerSettings


class FactConsumer(DurableConsumer):
    """Reads the facts of another service, each once."""

    stream = EVENTS.name

    def __init__(
        self,
        connection: Connection,
        settings: OwnerSettings,
        inbox: Inbox,
        contract: type[Event],
        row: FactRow,
        handler: FactHandler,
        *,
        database: Database,
    ) -> None:
        super().__init__(connection, settings, inbox)
        self.contract = contract
        self.subject = row.subject
        self.consumer = row.name
        self.dead_letter_prefix = f"dlq.{row.name}"
        self._handler = handler
        self._database = database

    async def handle(self, delivery: Delivery) -> None:
        try:
            context = cloudevents.context_of(delivery.headers)
            event = self.contract.model_validate_json(delivery.body)
        except ValidationError as error:
            raise Hopeless(
                "malformed", f"{error.error_count()} errors: {error.errors()[0]['msg']}"
            ) from error
        except ValueError as error:
            raise Hopeless("malformed", str(error)) from error
        project = project_of(delivery.subject)
        if project is not None:
            telemetry.project_id.set(str(project))
        async with self._database.transaction(
            actor=context.actor, operation=context.operation
        ) as transaction:
            if await self.inbox.first_sight(transaction, self.consumer, context.id):
                await self._handler(FactCall(delivery.subject, project, context, transaction), event)


def project_of(subject: str) -> uuid.UUID | None:
    """The project of an event is what its subject says, never its headers."""
    token = subject.split(".")[1]
    if token == PLATFORM:
        return None
    if not is_canonical_uuid(token):
        raise Hopeless("malformed", f"{token} is no project")
    return uuid.UUID(token)
