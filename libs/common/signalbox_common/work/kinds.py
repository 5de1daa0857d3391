"""What kinds of work a service has, and how often each is tried."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work.job import Job

JobHandler = Callable[[Job], Awaitable[None]]
FailureHandler = Callable[[Transaction, Job, SignalboxError], Awaitable[None]]
"""Commits, with the end of the job, that it cannot be done."""

_SPREAD = 0.2


@dataclass(frozen=True)
class Retry:
    """Pauses between the tries, in seconds; there is one try more than pauses."""

    pauses: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0)

    @property
    def tries(self) -> int:
        return len(self.pauses) + 1

    def after(self, attempts: int) -> float | None:
        """The pause after that many tries, not the same for all that failed together; None after the last."""
        if attempts >= self.tries:
            return None
        return self.pauses[attempts - 1] * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - spreads, hides nothing


CancelHandler = Callable[[Transaction, Job], Awaitable[None]]
"""Commits, with the end of the job, that it is not wanted; what was made outside, other work takes away."""


async def nothing_more(_transaction: Transaction, _job: Job, _error: SignalboxError) -> None:
    """Most work has only its row and its operation to say that it failed."""


@dataclass(frozen=True)
class Kind:
    """One kind of work: who does it, how many at a time in all instances together, and how often."""

    name: str
    handler: JobHandler
    most: int = 64
    most_in_project: int = 16
    retry: Retry = Retry()
    failed: FailureHandler = nothing_more
    cancelled: CancelHandler | None = None
    """None where whoever asked has to wait for the end."""
