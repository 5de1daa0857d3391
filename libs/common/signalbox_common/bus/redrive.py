"""Dead letters, handed to their handlers again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pydantic import ValidationError

from signalbox_common.bus import headers as h
from signalbox_common.bus.audit import AuditedRequest, AuditTrail
from signalbox_common.bus.commands import CommandConsumer, reply
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.durable import Delivery, DurableConsumer, PermanentFailure
from signalbox_common.bus.facts import FactConsumer
from signalbox_common.contracts.base import Failure, consumer_of
from signalbox_common.contracts.operations import Redrive, RedriveResult
from signalbox_common.contracts.streams import COMMANDS, DEAD_LETTERS
from signalbox_common.deliveries import StreamMessage
from signalbox_common.errors import NotFound, StillFailing, Unavailable
from signalbox_common.inbox import Inbox, Outcome
from signalbox_common.settings import OwnerSettings


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
        """Reads one dead letter through a consumer that can see only this service's own."""
        for subject in self._own_letters():
            name = f"{self.settings.service}-redrive"
            jetstream = self.connection.jetstream
            try:
                await jetstream.add_consumer(
                    DEAD_LETTERS.name,
                    ConsumerConfig(
                        name=name,
                        filter_subject=subject,
                        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                        opt_start_seq=sequence,
                        ack_policy=AckPolicy.NONE,
                        inactive_threshold=10,
                        mem_storage=True,
                        num_replicas=1,
                    ),
                )
                subscription = await jetstream.pull_subscribe_bind(consumer=name, stream=DEAD_LETTERS.name)
                try:
                    found = await subscription.fetch(1, timeout=1)
                except TimeoutError:
                    continue
                finally:
                    await subscription.unsubscribe()
                    await jetstream.delete_consumer(DEAD_LETTERS.name, name)
            except TimeoutError as error:
                raise Unavailable("The dead letters are not reachable.") from error
            if found and found[0].metadata.sequence.stream == sequence:
                return _letter(found[0])
        return None

    def _own_letters(self) -> list[str]:
        return [
            f"dlq.cmd.{self.settings.service}.>",
            *(f"{t.dead_letter_prefix}.>" for t in self._targets.values() if isinstance(t, FactConsumer)),
        ]


def _letter(raw: Msg) -> Delivery:
    """A dead letter as the delivery that it was, with the time and the person of its acceptance."""
    sent = dict(raw.headers or {})
    delivery = Delivery.of(raw, sent.get(h.CONSUMER, ""))
    try:
        accepted_at = datetime.fromisoformat(sent.get(h.ACCEPTED_AT, ""))
        sequence = int(sent.get(h.SEQUENCE, ""))
    except ValueError as error:
        raise PermanentFailure("malformed", "the dead letter lacks its history") from error
    return replace(
        delivery,
        subject=sent.get(h.ORIGINAL_SUBJECT, ""),
        message=StreamMessage(
            consumer=delivery.message.consumer,
            sequence=sequence,
            stored_at=accepted_at,
            command_id=delivery.message.command_id,
        ),
    )
