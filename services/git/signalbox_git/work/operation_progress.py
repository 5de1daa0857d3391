"""Tells how far git is with an operation: in the record, for who looks, and as events, for who follows it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal, Self

from signalbox_common import background
from signalbox_common.bus import Bus
from signalbox_common.bus.progress import Progress, Spent
from signalbox_common.contracts.git import GitOperationProgressed
from signalbox_common.db import is_contention, is_outage
from signalbox_common.work import Job, Overtaken
from signalbox_git.operations.percentages import Percentage, Percentages
from signalbox_git.operations.record import Operation
from signalbox_git.store import operations

EVERY = 0.4
"""Seconds between two events at least."""

Step = Literal["fetch", "push"]


class OperationProgress:
    """From `async with` on. Numbers go on where an earlier try has left them, so that none is told twice."""

    def __init__(self, bus: Bus, job: Job, found: Operation) -> None:
        self._bus = bus
        self._job = job
        self._found = found
        self._number = int((found.progress or {}).get("number", 0))
        self._heard: tuple[Step, Percentages] | None = None
        self._told: tuple[Step, Percentage] | None = None
        self._ending = AsyncExitStack()
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        operation = self._job.operation or str(self._found.id)
        self._progress = Progress(
            self._bus, operation, project=self._found.project_id, spent=Spent(number=self._number)
        )
        await self._ending.enter_async_context(self._progress)
        self._ticking = asyncio.create_task(self._tick(), name=f"progress of {self._found.id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await background.end(self._ticking)
        await self._ending.aclose()

    def of(self, step: Step) -> Callable[[bytes], None]:
        """What one git process is heard with."""
        heard = Percentages()
        self._heard = (step, heard)
        return heard.hear

    async def tell(self) -> None:
        """How far it is, where that is not told yet."""
        if self._heard is None or self._heard[1].latest is None:
            return
        step, latest = self._heard[0], self._heard[1].latest
        if (step, latest) == self._told:
            return
        self._told = (step, latest)
        self._number += 1
        shown = {"step": step, "phase": latest.phase, "percent": latest.percent}
        async with self._job.transaction() as transaction:
            await operations.save_progress(transaction, self._found.id, shown | {"number": self._number})
        await self._progress.say(
            GitOperationProgressed(
                operation=self._found.id,
                repository=self._found.repository_id,
                attempt=self._job.attempts,
                step=step,
                phase=latest.phase,
                percent=latest.percent,
            )
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.tell()
            except Overtaken:  # whoever does the work finds out by itself
                return
            except Exception as error:
                if not is_outage(error) and not is_contention(error):
                    raise
