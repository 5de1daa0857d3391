"""Takes in what services outside publish: events go on, whatever else becomes a dead letter."""

import asyncio
import re
import uuid
from contextlib import aclosing
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from signalbox_common import telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import LongPoll
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.streams import DEAD_LETTERS, EVENTS, EXTERNAL, INGEST, INGEST_LETTERS
from signalbox_common.errors import QuotaExceeded, Unavailable
from signalbox_gateway.event_quotas import EventQuotas
from signalbox_gateway.external import BadEvent, ExternalEvent, Reader, plain, project_of
from signalbox_gateway.fanout.in_order import MessagesInOrder
from signalbox_gateway.fanout.lenient_client import parse_leniently

log = telemetry.get_logger()

BATCH = 64
BATCH_BYTES = 8 * 1024 * 1024
PATIENCE = 5.0
PAUSE = 0.5
MAX_LETTER = 256 * 1024
"""Bytes of a body that are kept in a dead letter: with its headers it must still fit into a message."""
MAX_LETTER_HEADERS = 20
_MAX_SUBJECT = 300
_NO_PROJECT = uuid.UUID(int=0)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_LETTER_HEADERS = re.compile(r"(?:ce-[a-z0-9]{1,40}|content-type)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Intake:
    """What decides about what comes in."""

    reader: Reader
    quotas: EventQuotas
    letters: EventQuotas

    async def event_of(self, message: Msg) -> ExternalEvent:
        """Raises BadEvent for what is none, or one too many; the gateway has counted its own."""
        event = self.reader.of_message(message.subject, message.headers or {}, message.data)
        if not event.of_user:
            try:
                await self.quotas.take(event.project, event.size)
            except QuotaExceeded as error:
                raise BadEvent("", error.code, error.detail) from error
        return event

    async def keeps_letter(self, subject: str, size: int) -> bool:
        """Whether there is room for one more; what names no project counts together."""
        try:
            await self.letters.take(project_of(subject) or _NO_PROJECT, size)
        except QuotaExceeded:
            return False
        return True


class Ingest:
    """Any number of these may run at once: the consumer hands each message to one of them."""

    def __init__(self, connection: Connection, intake: Intake) -> None:
        self._connection = connection
        self._intake = intake

    async def run(self) -> None:
        """Until cancelled; what was not acknowledged comes again."""
        while True:
            try:
                await self._connection.wait_up()
                await self._consume()
            except (NatsError, JetStreamError, OSError, TimeoutError, Unavailable) as error:
                log.warning("events from outside wait", reason=repr(error)[:200])
                await asyncio.sleep(PAUSE)

    async def _consume(self) -> None:
        client = self._connection.client
        parse_leniently(client)
        async with LongPoll(
            client,
            inbox_prefix=self._connection.inbox_prefix,
            stream=INGEST.stream,
            consumer=INGEST.name,
            room=BATCH,
            max_bytes=BATCH_BYTES,
            waker=self._connection,
        ) as poll:
            in_order = MessagesInOrder(self._connection, EXTERNAL, INGEST)
            async with aclosing(in_order.of(poll)) as messages:
                async for message in messages:
                    await self._settle(message)

    async def _settle(self, message: Msg) -> None:
        try:
            event = await self._intake.event_of(message)
        except BadEvent as error:
            await self._dead_letter(message, error)
        except Exception as error:  # noqa: BLE001 - one message must never keep those behind it waiting
            await self._dead_letter(
                message, BadEvent("", "bad_event", f"it cannot be read: {type(error).__name__}")
            )
        else:
            await self._republish(event)
        await message.ack()

    async def _republish(self, event: ExternalEvent) -> None:
        await self._connection.jetstream.publish(
            event.told_on, event.data, stream=EVENTS.name, timeout=PATIENCE, headers=event.stored()
        )

    async def _dead_letter(self, message: Msg, error: BadEvent) -> None:
        """With nothing in it that could keep the letter from being written."""
        body = message.data[:MAX_LETTER]
        if not await self._intake.keeps_letter(message.subject, len(body)):
            telemetry.EVENTS_DROPPED.inc()
            return
        meta = message.metadata
        log.warning("no event", subject=plain(message.subject)[:200], reason=error.code)
        kept = {
            name: plain(str(value))
            for name, value in (message.headers or {}).items()
            if _LETTER_HEADERS.fullmatch(name)
        }
        about = {
            MESSAGE_ID: f"{INGEST.name}:{meta.sequence.stream}",
            h.ORIGINAL_SUBJECT: plain(message.subject),
            h.ACCEPTED_AT: meta.timestamp.isoformat(),
            h.REASON: error.code,
            h.ATTEMPTS: "1",
            h.ERROR: plain(str(error)),
            h.CONSUMER: INGEST.name,
            h.SEQUENCE: str(meta.sequence.stream),
        }
        await self._connection.jetstream.publish(
            f"{INGEST_LETTERS}.{_letter_of(message.subject)}",
            body,
            stream=DEAD_LETTERS.name,
            timeout=PATIENCE,
            headers=dict(list(kept.items())[:MAX_LETTER_HEADERS]) | about,
        )


def _letter_of(subject: str) -> str:
    """The subject that it came on, if that can be one of a letter too."""
    if len(subject) <= _MAX_SUBJECT and all(map(_TOKEN.fullmatch, subject.split("."))):
        return subject
    return "ext.unreadable"
