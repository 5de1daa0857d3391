"""The tail of a stream: what it holds from some position on, and then whatever is stored, in order.

The past comes in pages of direct gets. From then on the server sends a copy of each message that it has
stored, with its number. A copy that was lost shows by the number of the next one, or when the stream is
looked at, and is read like the past.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import ConsumerLost
from signalbox_common.bus.stored import StoredMessage, StreamReader, StreamState
from signalbox_common.contracts.streams import Stream

PAGE = 256
ROOM = 2048
"""Copies that may wait here; what comes beyond them is read again when there is time."""
ROOM_BYTES = 16 * 1024 * 1024
LOOK_EVERY = 2.0
"""Seconds without a copy after which the stream is looked at."""


class StreamTail:
    """Any number of processes may follow one stream, each from a position of its own."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        if stream.copies is None:
            raise ValueError(f"{stream.name} is not copied")
        self._connection = connection
        self._reader = StreamReader(connection, stream)
        self._subject = stream.subjects[0]
        self._copies = f"{stream.copies}.>"

    @asynccontextmanager
    async def read(self, after: int, state: StreamState) -> AsyncIterator[AsyncIterator[list[StoredMessage]]]:
        """Batches after that position, without a gap, of the stream that was in that state.

        Raises ConsumerLost where the connection was lost, or the stream is another one.
        """
        await self._connection.wait_up()
        copies = _Copies()
        lose = copies.lose
        self._connection.on_reconnect.add(lose)
        try:
            subscription = await self._connection.client.subscribe(self._copies, cb=copies.take)
            try:
                # Subscribed before the past is read, so that nothing falls between the two.
                await self._connection.client.flush()
                yield self._in_order(copies, after, state)
            finally:
                with suppress(NatsError):  # a connection that is gone has forgotten it
                    await subscription.unsubscribe()
        except NatsError as error:
            raise ConsumerLost from error
        finally:
            self._connection.on_reconnect.discard(lose)

    async def _in_order(
        self, copies: "_Copies", position: int, state: StreamState
    ) -> AsyncIterator[list[StoredMessage]]:
        epoch, complete = state.epoch, False
        while True:
            if not complete:
                copies.complete = True  # what is left out from here on is read in the next round
                page = await self._reader.after(self._subject, position, PAGE)
                if page:
                    position = page[-1].sequence
                    yield list(page)
                else:
                    position = max(position, state.last)  # up to there, nothing is left
                    complete = copies.complete
                continue
            await copies.wait(LOOK_EVERY)
            batch: list[StoredMessage] = []
            for message in copies.taken(PAGE):
                if message.sequence > position + 1:
                    complete = False
                    break
                if message.sequence == position + 1:
                    position = message.sequence
                    batch.append(message)
            complete = complete and copies.complete
            if batch:
                yield batch
            elif complete:
                state = await self._reader.state()
                if state.epoch != epoch or state.last < position:
                    raise ConsumerLost("the stream was made anew")
                complete = state.last == position


class _Copies:
    """What has come and was not taken yet, within bounds."""

    def __init__(self) -> None:
        self._arrived: deque[StoredMessage] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._lost = False
        self.complete = True
        """Whether nothing was left out since this was last set."""

    async def take(self, message: Msg) -> None:
        stored = StoredMessage.of(message)
        if stored is None or len(self._arrived) >= ROOM or self._bytes >= ROOM_BYTES:
            self.complete = False
        else:
            self._arrived.append(stored)
            self._bytes += len(stored.body)
        self._changed.set()

    def taken(self, most: int) -> list[StoredMessage]:
        taken = [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
        self._bytes -= sum(len(stored.body) for stored in taken)
        return taken

    def lose(self) -> None:
        """What was sent over the old connection may never come."""
        self._lost = True
        self._changed.set()

    async def wait(self, patience: float) -> None:
        """Until something has come, or for that many seconds."""
        self._changed.clear()
        if not self._arrived:
            with suppress(TimeoutError):  # unlike `wait_for`, this never swallows being cancelled
                async with asyncio.timeout(patience):
                    await self._changed.wait()
        if self._lost:
            raise ConsumerLost("the connection was lost")
