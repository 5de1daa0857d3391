"""Dead letters, handed to their handlers again."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from signalbox_common.bus import headers as h
from signalbox_common.bus.audit import AuditedRequest, AuditTrail
from signalbox_common.bus.commands import CommandConsumer, reply
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.durable import Delivery, DurableConsumer, PermanentFailure
from signalbox_common.bus.facts import FactConsumer
from signalbox_common.bus.stored import StoredMessage, StreamReader
from signalbox_common.contracts.base import Failure, consumer_of
from signalbox_common.contracts.operations import Redrive, RedriveResult
from signalbox_common.contracts.streams import COMMANDS, letters_of
from signalbox_common.deliveries import StreamMessage
from signalbox_common.errors import NotFound, StillFailing
from signalbox_common.inbox import Inbox
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.outcomes import Outcome
from signalbox_common.settings import OwnerSettings

_PATIENCE, _PAUSE = 1.0, 0.05
"""Seconds that a letter may take until it is in the service's own stream."""


class RedriveConsumer(DurableConsumer):
    """Hands a dead letter of this service to its handler again, through the inbox; one at a time."""

    stream = COMMANDS.name

    def __init__(
        self,
        connection: Connection,
        settings: OwnerSettings,
        inbox: Inbox,
        targets: Mapping[str, CommandConsumer | FactConsumer],
        audit: AuditTrail,
    ) -> None:
        super().__init__(connection, settings, inbox)
        self.subject = Redrive.subject_for(settings.service)
        self.consumer = consumer_of(self.subject)
        self.room = 1
        self._letters = StreamReader(connection, letters_of(settings.service))
        self._targets = targets
        self._audit = audit

    async def handle(self, delivery: Delivery) -> None:
        await reply(self.connection, delivery, await self._outcome_of(delivery))

    async def _outcome_of(self, delivery: Delivery) -> Outcome[Any]:
        try:
            redrive = Redrive.model_validate_json(delivery.body)
        except ValidationError as error:
            raise PermanentFailure("malformed", "no sequence") from error
        sequence, asked = redrive.sequence, AuditedRequest(Redrive, redrive, None)
        letter = await self._read(sequence)
        if letter is None:
            return await self._refused(asked, NotFound(f"This service has no dead letter {sequence}."))
        target = self._targets.get(letter.message.consumer)
        if target is None:
            return await self._refused(asked, NotFound(f"Nobody handles {letter.subject} any more."))
        redriven = await self._hand_over(sequence, letter, target)
        await self._audit.succeeded(asked)
        return Outcome.of(redriven)

    async def _refused(self, asked: AuditedRequest, error: NotFound) -> Outcome[Any]:
        await self._audit.refused(asked, error)
        return Outcome.failure(error)

    async def _hand_over(
        self, sequence: int, letter: Delivery, target: CommandConsumer | FactConsumer
    ) -> RedriveResult:
        await self.inbox.deliveries.unearth(letter.message)
        try:
            if isinstance(target, CommandConsumer):
                outcome = await target.outcome_of(letter)
                failure = Failure.model_validate_json(outcome.body) if outcome.failed else None
                result = RedriveResult(
                    sequence=sequence, outcome="refused" if outcome.failed else "handled", failure=failure
                )
            else:
                await target.handle(letter)
                result = RedriveResult(sequence=sequence, outcome="handled")
        except Exception as error:  # noqa: BLE001 - whatever it was, the letter stays dead and the operator learns why
            await self.inbox.deliveries.bury(letter.message, repr(error)[:2000])
            return RedriveResult(sequence=sequence, outcome="failed", failure=StillFailing(error).failure())
        await self.inbox.deliveries.forget(letter.message)
        return result

    async def _read(self, sequence: int) -> Delivery | None:
        """Reads one dead letter from a stream that holds only this service's own."""
        for _ in range(round(_PATIENCE / _PAUSE)):
            found = await self._letters.at(sequence)
            if found is not None:
                return _letter(found)
            if (await self._letters.state()).last >= sequence:
                return None
            await asyncio.sleep(_PAUSE)
        return None


def _letter(stored: StoredMessage) -> Delivery:
    """A dead letter as the delivery that it was, with the time and the person of its acceptance."""
    sent = stored.headers
    command_id = sent.get(h.COMMAND_ID, "")
    try:
        message = StreamMessage(
            consumer=sent.get(h.CONSUMER, ""),
            sequence=int(sent.get(h.SEQUENCE, "")),
            stored_at=datetime.fromisoformat(sent.get(h.ACCEPTED_AT, "")),
            command_id=uuid.UUID(command_id) if is_canonical_uuid(command_id) else None,
        )
    except ValueError as error:
        raise PermanentFailure("malformed", "the dead letter lacks its history") from error
    return Delivery(
        subject=sent.get(h.ORIGINAL_SUBJECT, ""),
        body=stored.body,
        headers=sent,
        message=message,
        delivered=1,
    )
