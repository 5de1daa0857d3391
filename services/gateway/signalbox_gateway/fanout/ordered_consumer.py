"""An ordered consumer: reads a stream from any position on, with backpressure from whoever takes it."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import ConsumerLost, LongPoll
from signalbox_common.errors import Unavailable

BATCH = 256
HEARTBEAT = 1.0
_NANOSECONDS = 1_000_000_000
_FORGOTTEN_AFTER = 10.0
_PATIENCE = 3.0


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
        consumer = f"{self._name}-{uuid.uuid4().hex[:8]}"
        poll = LongPoll(
            self._connection.client,
            inbox_prefix=self._connection.inbox_prefix,
            stream=self._stream,
            consumer=consumer,
            room=BATCH,
            heartbeat=HEARTBEAT,
            waker=self._connection,
        )
        try:
            async with poll:
                await self._create(consumer, after)
                yield self._in_order(poll)
        except NatsError as error:
            raise ConsumerLost from error

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

    async def _in_order(self, poll: LongPoll) -> AsyncIterator[list[Msg]]:
        expected = 1
        async for messages in poll.batches():
            for message in messages:
                if message.metadata.sequence.consumer != expected:
                    raise ConsumerLost("something was skipped")
                expected += 1
            yield messages
