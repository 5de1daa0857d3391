"""Messages of a consumer in the order of their stream, however many take them and whoever dies.

The consumer hands out what one that died had in its hands only when its time is up, and until then what
follows. So a message is held back until all before it are settled: by this process, or, as the consumer
knows, by others. Two that settle the same ones, because one was slow, do so in the same order, and the first
of each is what counts.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from itertools import count

from nats.aio.msg import Msg

from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import LongPoll
from signalbox_common.bus.stored import StreamReader
from signalbox_common.contracts.streams import Consumer, Stream
from signalbox_common.errors import Unavailable

PATIENCE = 5.0
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.25
"""Seconds between two questions about what others have in their hands."""


class MessagesInOrder:
    """Holds no more than the consumer hands out at once."""

    def __init__(self, connection: Connection, stream: Stream, consumer: Consumer) -> None:
        self._connection = connection
        self._consumer = consumer
        self._stream = StreamReader(connection, stream)
        self._held: list[tuple[int, int, Msg]] = []
        self._order = count()
        self._settled = -1
        """All up to here are; before the first message nothing is known of any."""

    async def of(self, poll: LongPoll) -> AsyncGenerator[Msg, None]:
        """Each when its turn has come; it counts as settled when the next one is asked for.

        One that came twice comes twice, so that it is acknowledged.
        """
        batches = aiter(poll.batches())
        coming: asyncio.Future[list[Msg]] | None = None
        pause = SHORTEST_LOOK
        try:
            while True:
                if coming is None and not self._held:
                    self._hold(await anext(batches))
                else:
                    coming = coming or asyncio.ensure_future(anext(batches))
                    await asyncio.wait({coming}, timeout=pause)
                    pause = min(2 * pause, LONGEST_LOOK)
                    if coming.done():
                        self._hold(coming.result())
                        coming = None
                while await self._has_turn():
                    pause = SHORTEST_LOOK
                    sequence, _, message = heapq.heappop(self._held)
                    yield message
                    self._settled = max(self._settled, sequence)
        finally:
            if coming is not None:
                coming.cancel()

    def _hold(self, messages: list[Msg]) -> None:
        for message in messages:
            heapq.heappush(self._held, (message.metadata.sequence.stream, next(self._order), message))

    async def _has_turn(self) -> bool:
        """Whether there is one, and all before it are settled."""
        if not self._held:
            return False
        before = self._held[0][0] - 1
        if self._settled < before:
            self._settled = max(self._settled, await self._floor())
        return self._settled >= before

    async def _floor(self) -> int:
        """Up to where nothing is in anybody's hands, or is not there any more."""
        question = f"CONSUMER.INFO.{self._consumer.stream}.{self._consumer.name}"
        said = await self._connection.ask_jetstream(question, patience=PATIENCE)
        if "error" in said:
            raise Unavailable("The consumer does not answer.")
        acknowledged = int(said["ack_floor"]["stream_seq"])
        return max(acknowledged, (await self._stream.state()).first - 1)
