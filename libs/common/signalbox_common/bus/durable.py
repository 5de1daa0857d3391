"""Durable consumers: every delivery ends as an ack, a delayed retry, or a dead letter.

Retries are counted in the service's own database before the handler runs, so that a handler which kills
its process is counted and an outage of the database is not.
"""

import asyncio
import time
import traceback
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from faststream.middlewares import AckPolicy
from faststream.nats import JStream, NatsMessage, PullSub
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from signalbox_common import background, telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.heartbeats import Heartbeats
from signalbox_common.bus.pull import ConsumerLost, LongPoll
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.streams import DEAD_LETTERS
from signalbox_common.db import is_contention, is_outage
from signalbox_common.deliveries import StreamMessage
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.settings import OwnerSettings

log = telemetry.get_logger()

ASKED_ANEW_PAUSE = 0.2
BURY_PATIENCE = 2.0
HANDLER_LIMIT = 60.0
OUTAGE_PAUSE = 1.0
CONTENTION_PAUSE = 0.05
_STACK_LIMIT = 8_000
_STARTED_TOO_OFTEN = "the handler was started this often without coming to an end"


class PermanentFailure(Exception):
    """A message that no retry can help."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class HandlerTimeout(Exception):
    """A handler that did not come to an end."""


@dataclass(frozen=True)
class Delivery:
    """One delivery of one stored message."""

    subject: str
    body: bytes
    headers: dict[str, str]
    message: StreamMessage
    delivered: int

    @property
    def accepted_at(self) -> datetime:
        return self.message.stored_at

    @staticmethod
    def of(raw: Msg, consumer: str) -> "Delivery":
        meta = raw.metadata
        sent = dict(raw.headers or {})
        command_id = sent.get(h.COMMAND_ID, "")
        return Delivery(
            subject=raw.subject,
            body=raw.data,
            headers=sent,
            message=StreamMessage(
                consumer=consumer,
                sequence=meta.sequence.stream,
                stored_at=meta.timestamp,
                command_id=uuid.UUID(command_id) if is_canonical_uuid(command_id) else None,
            ),
            delivered=meta.num_delivered,
        )


class DurableConsumer:
    """The way of a stored message through its handler; what handling means is for the subclass to say.

    FastStream keeps the subscribers and hands messages to them; asking for messages is ours (see `pull`).
    """

    consumer: str
    stream: str
    subject: str
    dead_letter_prefix = "dlq"
    batch = False
    """Whether the handler takes all that has come at once."""
    linger = 0.0
    """Seconds that a first message waits for others to be handled together with it."""

    def __init__(self, connection: Connection, settings: OwnerSettings, inbox: Inbox) -> None:
        self.connection = connection
        self.settings = settings
        self.inbox = inbox
        self.room = settings.command_workers
        self._subscriber: Any = None
        self._poll: LongPoll | None = None
        self._polling: asyncio.Task[None] | None = None
        self._stopping = False
        self._running: dict[asyncio.Task[Any], int] = {}
        self._heartbeats = Heartbeats()

    async def handle(self, delivery: Delivery) -> None:
        """Takes effect, or raises; `PermanentFailure` for what no retry can help."""
        raise NotImplementedError

    async def handle_all(self, deliveries: Sequence[Delivery]) -> None:
        """The same for many at once, all of them or none; only where `batch` is set."""
        raise NotImplementedError

    def subscribe(self) -> None:
        """Registers the handler; nothing is asked for before `start`."""
        self._subscriber = self.connection.broker.subscriber(
            self.subject,
            stream=JStream(self.stream, declare=False),
            durable=self.consumer,
            pull_sub=PullSub(batch=self.batch),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=_undecoded,
        )
        self._subscriber(self._consume)
        self._subscriber.subscription = _NoSubscription()

    def start(self) -> None:
        self._polling = asyncio.create_task(self._take_messages(), name=self.consumer)

    async def stop(self, grace: float) -> None:
        """Takes nothing new, and comes to an end with what has come."""
        self._stopping = True
        if self._poll is not None:
            await self._poll.close(self.connection.drain)
        else:
            await background.end(self._polling)
        if self._polling is not None:
            await asyncio.wait([self._polling], timeout=grace)
        if self._running:
            await asyncio.wait(list(self._running), timeout=grace)
        await background.end(self._polling)
        await self._subscriber.stop()

    async def _take_messages(self) -> None:
        while not self._stopping:
            try:
                await self.connection.wait_up()
                await self._take_while_asked()
            except (ConsumerLost, NatsError, OSError) as error:
                log.debug("asked anew", consumer=self.consumer, reason=repr(error)[:200])
                await asyncio.sleep(ASKED_ANEW_PAUSE)

    async def _take_while_asked(self) -> None:
        async with LongPoll(
            self.connection.client,
            inbox_prefix=self.connection.inbox_prefix,
            stream=self.stream,
            consumer=self.consumer,
            room=self.room,
            in_hand=lambda: sum(self._running.values()),
            waker=self.connection,
        ) as poll:
            self._poll = poll
            try:
                async for messages in poll.batches(linger=self.linger):
                    if self.batch:
                        self._begin(messages, len(messages))
                    else:
                        for message in messages:
                            self._begin(message, 1)
            finally:
                self._poll = None

    def _begin(self, received: Msg | list[Msg], count: int) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._subscriber.consume(received))
        self._running[task] = count
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        del self._running[task]
        if self._poll is not None:
            self._poll.look()

    async def _consume(self, message: NatsMessage) -> None:
        received: Any = message.raw_message
        messages: list[Msg] = received if self.batch else [received]
        deliveries = [Delivery.of(raw, self.consumer) for raw in messages]
        with self._heartbeats.of(messages):
            first_time = all(delivery.delivered == 1 for delivery in deliveries)
            if self.batch and first_time and await self._settle_all(messages, deliveries):
                return
            # A slow one, or one that fails, holds back none of the others.
            few = asyncio.Semaphore(self.settings.command_workers)

            async def alone(raw: Msg, delivery: Delivery) -> None:
                async with few:
                    await self._consume_one(raw, delivery)

            await asyncio.gather(*map(alone, messages, deliveries))

    async def _consume_one(self, raw: Msg, delivery: Delivery) -> None:
        h.adopt_correlation(delivery.headers)
        started = time.perf_counter()
        with telemetry.tracer.start_as_current_span(
            self.subject, context=telemetry.extract(delivery.headers), kind=SpanKind.CONSUMER
        ):
            outcome = await self._settle(raw, delivery)
        telemetry.HANDLING.labels(self.subject).observe(time.perf_counter() - started)
        telemetry.HANDLED.labels(self.subject, outcome).inc()

    async def _settle_all(self, messages: Sequence[Msg], deliveries: Sequence[Delivery]) -> bool:
        """Whether all of them took effect; if not, none did, and it is to be found out which is wrong."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(HANDLER_LIMIT):
                await self.handle_all(deliveries)
        except Exception as error:  # noqa: BLE001 - each is handled alone now, and meets its own error again
            log.debug("a batch failed", consumer=self.consumer, reason=repr(error)[:300])
            return False
        for raw in messages:
            await raw.ack()
        telemetry.HANDLING.labels(self.subject).observe(time.perf_counter() - started)
        telemetry.HANDLED.labels(self.subject, "ok").inc(len(messages))
        return True

    async def _settle(self, raw: Msg, delivery: Delivery) -> str:
        attempts = 1
        try:
            if delivery.delivered > 1:
                attempts, last = await self.inbox.deliveries.count(delivery.message, delivery.delivered)
                if attempts > self.settings.command_attempts:
                    return await self._give_up(
                        raw, delivery, "attempts_exhausted", attempts - 1, last or _STARTED_TOO_OFTEN
                    )
            await self._handle_in_time(delivery)
            await raw.ack()
            if attempts > 1:
                with suppress(Exception):  # a leftover count harms nobody and is tidied away
                    await self.inbox.deliveries.forget(delivery.message)
            return "ok"
        except PermanentFailure as error:
            return await self._give_up(raw, delivery, error.reason, attempts, str(error))
        except Exception as error:  # noqa: BLE001 - the one place where a handler's errors end
            return await self._try_later(raw, delivery, attempts, error)

    async def _handle_in_time(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(HANDLER_LIMIT) as limit:
                await self.handle(delivery)
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimeout(f"the handler took longer than {HANDLER_LIMIT:.0f} s") from error
            raise

    async def _try_later(self, raw: Msg, delivery: Delivery, attempts: int, error: Exception) -> str:
        if is_outage(error) or (isinstance(error, SignalboxError) and not error.final):
            log.warning("message waits for better times", subject=self.subject, reason=repr(error)[:300])
            return await self._not_counted(raw, delivery, OUTAGE_PAUSE, "outage")
        if is_contention(error):
            return await self._not_counted(raw, delivery, CONTENTION_PAUSE, "contention")
        stack = "".join(traceback.format_exception(error))[-_STACK_LIMIT:]
        log.error("handler failed", subject=self.subject, attempt=attempts, error=repr(error)[:300])
        try:
            await self.inbox.deliveries.note_failure(delivery.message, stack)
        except Exception as lost:  # noqa: BLE001 - without the note, only the dead letter's stack is poorer
            log.warning("failure not noted", reason=repr(lost)[:300])
        if attempts >= self.settings.command_attempts:
            return await self._give_up(raw, delivery, "attempts_exhausted", attempts, stack)
        pause = min(self.settings.retry_base * 2 ** (attempts - 1), self.settings.retry_max)
        await raw.nak(delay=pause)
        return "retry"

    async def _not_counted(self, raw: Msg, delivery: Delivery, pause: float, outcome: str) -> str:
        """Back into the queue, as if this delivery had not been."""
        if delivery.delivered > 1:
            with suppress(Exception):  # what could not be counted need not be taken back
                await self.inbox.deliveries.uncount(delivery.message)
        await raw.nak(delay=pause)
        return outcome

    async def _give_up(self, raw: Msg, delivery: Delivery, reason: str, attempts: int, error: str) -> str:
        """Publishes the dead letter and only then lets go of the message."""
        try:
            await self.connection.jetstream.publish(
                f"{self.dead_letter_prefix}.{delivery.subject}",
                delivery.body,
                stream=DEAD_LETTERS.name,
                timeout=BURY_PATIENCE,
                headers={
                    **_kept(delivery.headers),
                    MESSAGE_ID: f"{self.consumer}:{delivery.message.sequence}",
                    h.ORIGINAL_SUBJECT: delivery.subject,
                    h.ACCEPTED_AT: delivery.accepted_at.isoformat(),
                    h.REASON: reason,
                    h.ATTEMPTS: str(attempts),
                    h.ERROR: _one_line(error),
                    h.CONSUMER: self.consumer,
                    h.SEQUENCE: str(delivery.message.sequence),
                },
            )
            await self.inbox.deliveries.bury(delivery.message, error[-_STACK_LIMIT:])
        except Exception as lost:  # noqa: BLE001 - kept and tried again: a message is never let go unburied
            log.warning("dead letter waits for better times", subject=self.subject, reason=repr(lost)[:300])
            await raw.nak(delay=OUTAGE_PAUSE)
            return "outage"
        await raw.term()
        telemetry.DEAD_LETTERED.labels(self.subject, reason).inc()
        log.error("message given up", subject=delivery.subject, reason=reason, attempts=attempts)
        return "dead"


async def _undecoded(message: NatsMessage) -> NatsMessage:
    """Handlers get the message itself: what cannot be decoded must reach the dead letters too."""
    return message


class _NoSubscription:
    """Stands where FastStream would keep a subscription of its own, so that it makes none."""

    async def unsubscribe(self) -> None:
        """There is none."""


def _kept(headers: dict[str, str]) -> dict[str, str]:
    """What goes along into a dead letter: nothing that would tell the server what to do."""
    return {
        name: value
        for name, value in headers.items()
        if name != h.REPLY_TO and not name.lower().startswith("nats-")
    }


def _one_line(text: str) -> str:
    """A stack as the value of one header."""
    return text[-_STACK_LIMIT:].strip().replace("\r", "").replace("\n", "\\n")


def describe(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers of a dead letter in the words of an operator."""
    return {
        "subject": headers.get(h.ORIGINAL_SUBJECT),
        "reason": headers.get(h.REASON),
        "attempts": int(headers.get(h.ATTEMPTS, 0)),
        "error": headers.get(h.ERROR, "").replace("\\n", "\n"),
        "consumer": headers.get(h.CONSUMER),
        "sequence": int(headers.get(h.SEQUENCE, 0)),
        "accepted_at": headers.get(h.ACCEPTED_AT),
        "command_id": headers.get(h.COMMAND_ID),
        "event_id": headers.get("ce-id"),
        "correlation_id": headers.get(h.CORRELATION),
    }
