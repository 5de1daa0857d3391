"""Tells the server which messages are still worked on, so that only a dead process loses its own."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from nats.aio.msg import Msg

INTERVAL = 2.0


class Heartbeats:
    """One timer for all messages in hand, and none while there are none."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[Msg, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._beating: set[asyncio.Task[None]] = set()

    @contextmanager
    def of(self, messages: Sequence[Msg]) -> Iterator[None]:
        """Keeps these for as long as the block runs."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._since.update({id(message): (message, now) for message in messages})
        if self._timer is None:
            self._timer = loop.call_later(INTERVAL, self._tick)
        try:
            yield
        finally:
            for message in messages:
                self._since.pop(id(message), None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERVAL / 2, self._tick) if self._since else None
        late = loop.time() - INTERVAL / 2
        if due := [message for message, since in self._since.values() if since <= late]:
            task = loop.create_task(self._beat(due))
            self._beating.add(task)
            task.add_done_callback(self._beating.discard)

    @staticmethod
    async def _beat(messages: list[Msg]) -> None:
        for message in messages:
            with suppress(Exception):  # while the server is away there is nobody to tell
                await message.in_progress()
