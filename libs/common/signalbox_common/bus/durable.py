"""Durable consumers: every delivery ends as an ack, a delayed retry, or a dead letter.

Retries are counted in the service's own database before the handler runs, so that a handler which kills
its process is counted and an outage of the database is not.
"""

import asyncio
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from faststream.middlewares import AckPolicy
from faststream.nats import JStream, NatsMessage, PullSub
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from signalbox_common import telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.connection import Connection
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.streams import DEAD_LETTERS
from signalbox_common.db import is_contention, is_outage
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Delivered, Inbox
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.settings import OwnerSettings

log = telemetry.get_logger()

FETCH_PATIENCE = 1.0
BURY_PATIENCE = 2.0
HEARTBEAT = 2.0
HANDLER_LIMIT = 60.0
OUTAGE_PAUSE = 1.0
CONTENTION_PAUSE = 0.05
_STACK_LIMIT = 8_000
_STARTED_TOO_OFTEN = "the handler was started this often without coming to an end"


class Hopeless(Exception):
    """A message that no retry can help."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class TooSlow(Exception):
    """A handler that did not come to an end."""


@dataclass(frozen=True)
class Delivery:
    """One delivery of one stored message."""

    subject: str
    body: bytes
    headers: dict[str, str]
    message: Delivered
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
            message=Delivered(
                consumer=consumer,
                sequence=meta.sequence.stream,
                stored_at=meta.timestamp,
                command_id=uuid.UUID(command_id) if is_canonical_uuid(command_id) else None,
            ),
            delivered=meta.num_delivered,
        )


class DurableConsumer:
    """The way of a stored message through its handler; what handling means is for the subclass to say."""

    consumer: str
    stream: str
    subject: str
    dead_letter_prefix = "dlq"
    workers: int

    def __init__(self, connection: Connection, settings: OwnerSettings, inbox: Inbox) -> None:
        self.connection = connection
        self.settings = settings
        self.inbox = inbox
        self.workers = settings.command_workers

    async def handle(self, delivery: Delivery) -> None:
        """Takes effect, or raises; `Hopeless` for what no retry can help."""
        raise NotImplementedError

    def subscribe(self) -> None:
        """One pull loop per worker: a slow message holds back nobody but itself."""
        for _ in range(self.workers):
            subscriber = self.connection.broker.subscriber(
                self.subject,
                stream=JStream(self.stream, declare=False),
                durable=self.consumer,
                pull_sub=PullSub(batch_size=1, timeout=FETCH_PATIENCE),
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,
                inbox_prefix=f"{self.connection.inbox_prefix}.".encode(),
                decoder=_undecoded,
            )
            subscriber(self._consume)

    async def _consume(self, message: NatsMessage) -> None:
        raw = message.raw_message
        delivery = Delivery.of(raw, self.consumer)
        h.adopt_correlation(delivery.headers)
        started = time.perf_counter()
        async with _heartbeats(raw):
            with telemetry.tracer.start_as_current_span(
                self.subject, context=telemetry.extract(delivery.headers), kind=SpanKind.CONSUMER
            ):
                outcome = await self._settle(raw, delivery)
        telemetry.HANDLING.labels(self.subject).observe(time.perf_counter() - started)
        telemetry.HANDLED.labels(self.subject, outcome).inc()

    async def _settle(self, raw: Msg, delivery: Delivery) -> str:
        attempts = 1
        try:
            if delivery.delivered > 1:
                attempts, last = await self.inbox.count_delivery(delivery.message, delivery.delivered)
                if attempts > self.settings.command_attempts:
                    return await self._give_up(
                        raw, delivery, "attempts_exhausted", attempts - 1, last or _STARTED_TOO_OFTEN
                    )
            await self._handle_in_time(delivery)
            await raw.ack()
            if attempts > 1:
                with suppress(Exception):  # a leftover count harms nobody and is tidied away
                    await self.inbox.forget(delivery.message)
            return "ok"
        except Hopeless as error:
            return await self._give_up(raw, delivery, error.reason, attempts, str(error))
        except Exception as error:  # noqa: BLE001 - the one place where a handler's errors end
            return await self._try_later(raw, delivery, attempts, error)

    async def _handle_in_time(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(HANDLER_LIMIT) as limit:
                await self.handle(delivery)
        except TimeoutError as error:
            if limit.expired():
                raise TooSlow(f"the handler took longer than {HANDLER_LIMIT:.0f} s") from error
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
            await self.inbox.note_failure(delivery.message, stack)
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
                await self.inbox.uncount(delivery.message)
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
            await self.inbox.bury(delivery.message, error[-_STACK_LIMIT:])
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


@asynccontextmanager
async def _heartbeats(raw: Msg) -> AsyncIterator[None]:
    """Tells the server that work goes on, so that only a dead process loses its message."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            with suppress(Exception):  # while the server is away there is nobody to tell
                await raw.in_progress()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


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
