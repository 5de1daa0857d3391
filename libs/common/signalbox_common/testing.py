"""Helpers for tests: wait for conditions instead of sleeping, and run services in the test's own loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from signalbox_common.runtime import Service

T = TypeVar("T")
POLL = 0.02


async def eventually(
    look: Callable[[], Awaitable[T]], *, within: float = 30.0, what: str = "the condition"
) -> T:
    """The first truthy answer; raises AssertionError when none comes in time."""
    deadline = time.monotonic() + within
    seen: object = None
    while True:
        try:
            found = await look()
        except AssertionError as error:
            seen = error
        else:
            if found:
                return found
            seen = found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {within} s; last seen: {seen!r}")
        await asyncio.sleep(POLL)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    """The service, started in this loop and stopped gracefully at the end."""
    started = asyncio.Event()
    task = asyncio.create_task(service.run(started=started.set))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        task.result()
    try:
        yield service
    finally:
        service.stop()
        await task
