"""How steps with sandboxes are timed."""

import statistics
import time
from collections.abc import Awaitable, Callable

SINGLE, AT_ONCE = 60, 20
GIGABYTE = 1024 * 1024 * 1024


async def timed(step: Callable[[], Awaitable[object]], times: int) -> float:
    """The median, in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await step()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)
