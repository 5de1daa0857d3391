"""Counts the seconds that this service lives, and ends the runs whose time is over."""

import asyncio

from signalbox_common import background, telemetry
from signalbox_common.contracts.tasks import StopReason
from signalbox_common.db import Database
from signalbox_tasks.service.news import News
from signalbox_tasks.store import projects, runs

log = telemetry.get_logger()
EVERY = 1.0
_BATCH = 200


class Timekeeper:
    """In each instance; one at a time counts."""

    def __init__(self, database: Database, news: News, *, every: float = EVERY) -> None:
        self._database = database
        self._news = news
        self._every = every
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._count(), name="time of runs")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next turn tries again
                log.warning("time of runs not counted", reason=repr(error)[:300])

    async def tick(self) -> None:
        async with self._database.transaction() as transaction:
            lived = await projects.beat(transaction)
        if lived is None:
            return
        async with self._database.reading() as connection:
            overdue = await runs.overdue(connection, lived, _BATCH)
            left = await projects.left_behind(connection)
        for run, project in overdue:
            await self._news.stop(project, run, StopReason.TIMED_OUT)
        for project in left:  # whoever was told may have died over it
            await self._news.stop_all(project)
