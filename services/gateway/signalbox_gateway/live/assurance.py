"""Assurance: how long ago everything was right that is known here about who may do what.

The stream of revocations tells what was taken back, but not what waits in auth to be told while auth is away.
So auth is asked whether anything does, once for all connections of a process.
"""

import asyncio
import time

from signalbox_common import background
from signalbox_common.bus import Bus
from signalbox_common.contracts.auth import CheckRevocations
from signalbox_common.errors import SignalboxError

UNCHECKED_FOR = 10.0
"""Seconds after which no answer counts any more."""
ASK_EVERY = 2.0
_PATIENCE = 4.0


class Assurance:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._told_at = time.monotonic()
        """When auth was asked last, of the times that nothing waited; nobody is let in before it answers."""
        self._task: asyncio.Task[None] | None = None

    @property
    def age(self) -> float:
        """Seconds since nothing was known here that was not right."""
        return max(self._bus.revoked.silence, time.monotonic() - self._told_at)

    @property
    def left(self) -> float:
        """Seconds for which the answers of before still count."""
        return max(0.0, UNCHECKED_FOR - self.age)

    @property
    def is_lost(self) -> bool:
        return not self.left

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="assurance")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                told = (await self._bus.query(CheckRevocations(), timeout=_PATIENCE)).value()
                if not told.waiting:
                    self._told_at = began
            except SignalboxError:
                pass  # the age tells
            await asyncio.sleep(ASK_EVERY)
