"""Takes in what services outside publish: events go on, whatever else becomes a dead letter."""

import asyncio
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import Error as JetStreamError

from signalbox_common import telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.connection import Connection
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.streams import DEAD_LETTERS, EVENTS, INGEST, INGEST_LETTERS
from signalbox_gateway.external import BadEvent, External, Reader

log = telemetry.get_logger()

BATCH = 64
PATIENCE = 5.0
PAUSE = 0.5


class Ingest:
    """Any number of these may run at once: the stream hands each message to one of them."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader

    async def run(self) -> None:
        """Until cancelled; what was not acknowledged comes again."""
        while True:
            try:
                await self._connection.wait_up()
                await self._take_in()
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                log.warning("events from outside wait", reason=repr(error)[:200])
                await asyncio.sleep(PAUSE)

    async def _take_in(self) -> None:
        jetstream = self._connection.jetstream
        inbox = f"{self._connection.inbox_prefix}.".encode()
        pulling = await jetstream.pull_subscribe_bind(INGEST.name, stream=INGEST.stream, inbox_prefix=inbox)
        try:
            while True:
                try:
                    messages = await pulling.fetch(BATCH, timeout=PATIENCE)
                except NatsTimeout:
                    continue
                for message in messages:
                    await self._settle(message)
        finally:
            with suppress(Exception):  # a connection that is gone has forgotten it
                await pulling.unsubscribe()

    async def _settle(self, message: Msg) -> None:
        try:
            event = self._reader.of_message(message.subject, dict(message.headers or {}), message.data)
        except BadEvent as error:
            await self._bury(message, error)
        else:
            await self._pass_on(event)
        await message.ack()

    async def _pass_on(self, event: External) -> None:
        await self._connection.jetstream.publish(
            event.told_on, event.data, stream=EVENTS.name, timeout=PATIENCE, headers=event.stored()
        )

    async def _bury(self, message: Msg, error: BadEvent) -> None:
        meta = message.metadata
        log.warning("no event", subject=message.subject[:200], reason=error.code)
        kept = {
            name: value
            for name, value in (message.headers or {}).items()
            if name.lower().startswith("ce-") or name.lower() == "content-type"
        }
        about = {
            MESSAGE_ID: f"{INGEST.name}:{meta.sequence.stream}",
            h.ORIGINAL_SUBJECT: message.subject,
            h.ACCEPTED_AT: meta.timestamp.isoformat(),
            h.REASON: error.code,
            h.ATTEMPTS: "1",
            h.ERROR: str(error),
            h.CONSUMER: INGEST.name,
            h.SEQUENCE: str(meta.sequence.stream),
        }
        await self._connection.jetstream.publish(
            f"{INGEST_LETTERS}.{message.subject}",
            message.data,
            stream=DEAD_LETTERS.name,
            timeout=PATIENCE,
            headers=kept | about,
        )
