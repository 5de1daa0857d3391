"""An ordered consumer: reads a stream from any position on, with backpressure from whoever takes it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from signalbox_common.bus.connection import Connection
from signalbox_common.errors import Unavailable

BATCH = 256
EXPIRES = 30.0
HEARTBEAT = 1.0
_NANOSECONDS = 1_000_000_000
_FORGOTTEN_AFTER = 10.0
_PATIENCE = 3.0
_ALIVE, _ENDED = "100", frozenset({"404", "408"})


class ConsumerLost(Exception):
    """Nothing is heard of the consumer any more, or something was skipped: it has to be made anew."""


class OrderedConsumer:
    """One ephemeral pull consumer; only what was asked for comes, so nothing piles up here."""

    def __init__(self, connection: Connection, stream: str, subject: str, name: str) -> None:
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._name = name

    @asynccontextmanager
    async def read(self, after: int) -> AsyncIterator[AsyncIterator[list[Msg]]]:
        """Batches after that sequence, in order and without a gap; raises ConsumerLost where it ends."""
        await self._connection.wait_up()
        client = self._connection.client
        consumer = f"{self._name}-{uuid.uuid4().hex[:8]}"
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = f"{self._connection.inbox_prefix}.{uuid.uuid4().hex}"
        subscription = await client.subscribe(inbox, cb=arrived.put)
        try:
            await self._create(consumer, after)
            yield self._batches(consumer, inbox, arrived)
        except NatsError as error:
            raise ConsumerLost from error
        finally:
            with suppress(Exception):  # the server forgets the consumer by itself
                await subscription.unsubscribe()

    async def _create(self, consumer: str, after: int) -> None:
        config = {
            "name": consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "filter_subject": self._subject,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(_FORGOTTEN_AFTER * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        try:
            answer = await self._connection.client.request(
                f"$JS.API.CONSUMER.CREATE.{self._stream}.{consumer}.{self._subject}",
                json.dumps({"stream_name": self._stream, "config": config, "action": "create"}).encode(),
                timeout=_PATIENCE,
            )
        except TimeoutError as error:
            raise ConsumerLost from error
        said = json.loads(answer.data)
        if "error" in said:
            raise Unavailable(f"The stream {self._stream} says: {said['error'].get('description')}")

    async def _batches(
        self, consumer: str, inbox: str, arrived: "asyncio.Queue[Msg]"
    ) -> AsyncIterator[list[Msg]]:
        expected = 1
        wanted = 0
        while True:
            if wanted <= 0:
                await self._ask(consumer, inbox)
                wanted = BATCH
            try:
                batch = [await asyncio.wait_for(arrived.get(), HEARTBEAT * 3)]
            except TimeoutError as error:
                raise ConsumerLost from error
            while not arrived.empty():
                batch.append(arrived.get_nowait())
            messages = []
            for message in batch:
                # An event may have a header that looks like a word of the server; its reply subject cannot.
                if not message.reply.startswith("$JS.ACK."):
                    status = (message.headers or {}).get("Status")
                    if status in _ENDED:
                        wanted = 0  # what was asked for has run out
                    elif status != _ALIVE:
                        raise ConsumerLost
                    continue
                if message.metadata.sequence.consumer != expected:
                    raise ConsumerLost
                expected += 1
                wanted -= 1
                messages.append(message)
            if messages:
                yield messages

    async def _ask(self, consumer: str, inbox: str) -> None:
        question = {
            "batch": BATCH,
            "expires": int(EXPIRES * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT * _NANOSECONDS),
        }
        await self._connection.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}",
            json.dumps(question).encode(),
            reply=inbox,
        )
