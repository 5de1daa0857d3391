"""One clock for all open connections of a process: who must be heard of, and whose time is over."""

import asyncio
import time
from typing import Protocol

from signalbox_common import background

ALIVE_EVERY = 15
"""Seconds between two signs of life."""


class Ticking(Protocol):
    ends_at: float

    def say_alive(self) -> None: ...

    def time_is_over(self) -> None: ...


class Clock:
    """Each second a fifteenth of the connections gets its sign of life, so that not all do at once."""

    def __init__(self) -> None:
        self._rounds: list[set[Ticking]] = [set() for _ in range(ALIVE_EVERY)]
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, connection: Ticking) -> None:
        self._rounds[self._next % ALIVE_EVERY].add(connection)
        self._next += 1

    def remove(self, connection: Ticking) -> None:
        for each in self._rounds:
            each.discard(connection)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="live clock")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(1.0)
            number = (number + 1) % ALIVE_EVERY
            self._tick(number)

    def _tick(self, number: int) -> None:
        """Apart from what runs for ever, which would hold the last one that it has seen."""
        for connection in tuple(self._rounds[number]):
            connection.say_alive()
        now = time.time()
        for each in self._rounds:
            for connection in [c for c in each if c.ends_at <= now]:
                connection.time_is_over()
