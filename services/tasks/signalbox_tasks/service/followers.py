"""Who follows logs in this process: told when there is more, and looking by themselves now and then."""

import asyncio
import uuid
from contextlib import suppress

_LOOK = 0.5
"""Seconds after which there may be more that another instance has written."""


class LogFollowers:
    def __init__(self) -> None:
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = {}

    def told(self, run: uuid.UUID) -> None:
        for event in self._waiting.get(run, ()):
            event.set()

    async def until_more(self, run: uuid.UUID) -> None:
        event = asyncio.Event()
        waiting = self._waiting.setdefault(run, set())
        waiting.add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await event.wait()
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(run, None)
