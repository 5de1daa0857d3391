"""Long polls: one standing request to a pull consumer, put anew when it runs out or its connection was lost.

What is asked for never exceeds the room that there is for it, so nothing piles up here, and nothing is spent
while there is nothing to take.
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

EXPIRES = 30.0
"""Seconds that one request stands."""
_LATE = 5.0
"""Seconds after its end at which a request that was not heard of counts as forgotten by the server."""
_NANOSECONDS = 1_000_000_000
_MISSED_BEATS = 3
_ALIVE = "100"
_RAN_OUT = frozenset({"404", "408"})
_PENDING = "Nats-Pending-Messages"


class ConsumerLost(ConnectionError):
    """The consumer does not answer any more, or has skipped something: it has to be asked, or made, anew."""


def is_message(message: Msg) -> bool:
    """Whether it was stored in a stream, and is no word of the server.

    Anybody may write headers that look like such a word; where an acknowledgement goes, only the server says.
    """
    return message.reply.startswith("$JS.ACK.")


class Waker(Protocol):
    """Who tells of the moment when a connection stands again."""

    on_reconnect: set[Callable[[], None]]


class LongPoll:
    """Asks one consumer over one connection, from `async with` on.

    At most `room` messages are asked for, waiting here or in the caller's hands at any moment; `in_hand`
    counts the last, and `look` says that it has changed. Raises ConsumerLost where the server has forgotten
    the consumer or the request.
    """

    def __init__(
        self,
        client: Client,
        *,
        inbox_prefix: str,
        stream: str,
        consumer: str,
        room: int,
        in_hand: Callable[[], int] = lambda: 0,
        max_bytes: int | None = None,
        expires: float = EXPIRES,
        heartbeat: float | None = None,
        no_wait: bool = False,
        waker: Waker | None = None,
    ) -> None:
        self._client = client
        self._inbox = f"{inbox_prefix}.{uuid.uuid4().hex}"
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._question: dict[str, Any] = {"no_wait": True}
        if not no_wait:
            self._question = {"expires": int(expires * _NANOSECONDS)}
        if heartbeat is not None:
            self._question["idle_heartbeat"] = int(heartbeat * _NANOSECONDS)
        if max_bytes is not None:
            self._question["max_bytes"] = max_bytes
        self._patience = heartbeat * _MISSED_BEATS if heartbeat is not None else expires + _LATE
        self._room = room
        self._in_hand = in_hand
        self._no_wait = no_wait
        self._waker = waker
        self._asked = 0
        self._arrived: deque[Msg] = deque()
        self._changed = asyncio.Event()
        self._closing = False
        self._closed = False
        self._silent = False
        self._ran_out = False
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._client.subscribe(self._inbox, cb=self._take)
        if self._waker is not None:
            self._waker.on_reconnect.add(self._lose)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waker is not None:
            self._waker.on_reconnect.discard(self._lose)
        if self._subscription is not None and not self._closing:
            with suppress(Exception):  # a connection that is gone has forgotten it
                await self._subscription.unsubscribe()

    async def batches(self, most: int | None = None, linger: float = 0.0) -> AsyncIterator[list[Msg]]:
        """What has come, oldest first; at least one message each time, and `most` at the most.

        With `linger`, a first message waits that many seconds for others to be taken together with it.
        """
        while True:
            if not self._arrived:
                if self._closed or (self._no_wait and self._ran_out):
                    return
                await self._wait()
                continue
            if linger and len(self._arrived) < (most or self._room) and not self._closing:
                await asyncio.sleep(linger)
            count = min(len(self._arrived), most or self._room)
            yield [self._arrived.popleft() for _ in range(count)]

    def look(self) -> None:
        """There may be room again."""
        self._changed.set()

    async def close(self, drain: Callable[[list[Subscription]], Any]) -> None:
        """Asks for nothing more; what was sent already is still handed out, and then the batches end."""
        self._closing = True
        if self._subscription is not None:
            with suppress(NatsError, TimeoutError):
                await drain([self._subscription])
        self._closed = True
        self._changed.set()

    async def _wait(self) -> None:
        """Until there is something to look at; with as much asked for as there is room."""
        self._changed.clear()
        self._check()  # it may have happened while nobody waited
        await self._ask()
        waits = self._patience if self._asked else None
        try:
            async with asyncio.timeout(waits):
                await self._changed.wait()
        except TimeoutError as error:
            raise ConsumerLost("nothing is heard of the request") from error
        self._check()

    def _check(self) -> None:
        if self._silent and not self._arrived:
            raise ConsumerLost("the consumer is gone, or the connection was")

    async def _ask(self) -> None:
        """In steps of half the room: one request for each message would cost as much as the message."""
        free = self._room - self._in_hand() - len(self._arrived) - self._asked
        if self._closing or free <= 0 or (self._asked and free < self._room / 2):
            return
        self._asked += free
        question = json.dumps(self._question | {"batch": free}).encode()
        await self._client.publish(self._subject, question, reply=self._inbox)

    async def _take(self, message: Msg) -> None:
        if is_message(message):
            self._asked -= 1
            self._arrived.append(message)
        else:
            headers = message.headers or {}
            status = headers.get("Status")
            if status in _RAN_OUT or _PENDING in headers:
                self._ran_out = True
                self._asked = max(0, self._asked - int(headers.get(_PENDING, self._asked)))
            elif status != _ALIVE:
                self._silent = True
        self._changed.set()

    def _lose(self) -> None:
        """What was asked over the old connection may never be answered."""
        self._silent = True
        self._changed.set()
