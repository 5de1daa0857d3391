"""Bounds of time that hold on any machine: multiples of what something else takes on it in the same run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from signalbox_common.testing import POLL

T = TypeVar("T")
MULTIPLE = 40
SECOND = 1.0


async def promptly(look: Callable[[], Awaitable[T]], *, what: str = "the condition") -> T:
    """As `eventually`, within a second or forty looks, whichever takes longer: for what is pushed."""
    began, looks = time.monotonic(), 0
    while True:
        seen: object
        try:
            seen = found = await look()
            if found:
                return found
        except AssertionError as error:
            seen = error
        looks += 1
        took = time.monotonic() - began
        if looks >= MULTIPLE and took > SECOND:
            raise AssertionError(
                f"{what} did not hold after {looks} looks in {took:.1f} s; last seen: {seen!r}"
            )
        await asyncio.sleep(POLL)


async def pace(step: Callable[[], Awaitable[object]], times: int = 10) -> float:
    """Seconds that the slowest of some steps takes."""
    slowest = 0.0
    for _ in range(times):
        began = time.perf_counter()
        await step()
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def soon(paced: float) -> float:
    """Seconds within which something has come that nobody waits for, where a step takes `paced`."""
    return max(SECOND, MULTIPLE * paced)
