"""How steps with sandboxes are timed."""

import statistics
import time
from collections.abc import Awaitable, Callable

SINGLE, AT_ONCE = 60, 20
GIGABYTE = 1024 * 1024 * 1024
MEDIAN = 0.5


async def timed(step: Callable[[], Awaitable[object]], times: int, share: float = MEDIAN) -> float:
    """In how many milliseconds that share of them was done; by default the median."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await step()
        took.append(1000 * (time.perf_counter() - began))
    if share == MEDIAN:
        return statistics.median(took)
    return sorted(took)[min(times - 1, int(share * times))]
