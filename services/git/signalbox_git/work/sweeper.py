"""Lets go of checkouts that nobody needs any more, and removes trees that no checkout has."""

import asyncio
import uuid
from functools import partial

from signalbox_common import background, telemetry
from signalbox_common.db import Database
from signalbox_git.domain import Checkout
from signalbox_git.replies import tell_of_checkout
from signalbox_git.store import checkouts
from signalbox_git.trees.trees import Trees

log = telemetry.get_logger()
EVERY = 60.0


class Sweeper:
    """In each instance: rows that another one has in hand, and trees that somebody holds, are left alone."""

    def __init__(self, database: Database, trees: Trees, *, kept: float, every: float = EVERY) -> None:
        """`kept` is in seconds: so long does a checkout stay that neither a run nor a sandbox has."""
        self._database = database
        self._trees = trees
        self._kept = kept
        self._every = every
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_all(), name="trees")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _sweep_all(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next turn tries again
                log.warning("trees not swept", reason=repr(error)[:300])

    async def sweep(self) -> None:
        async with self._database.transaction() as transaction:
            gone = await checkouts.unclaimed(transaction, self._kept)
            for found in map(Checkout.released, gone):
                await checkouts.save(transaction, found)
                tell_of_checkout(transaction, found)
        for found in gone:
            self._trees.unlink(found.project_id, found.id)
        for project, name in await asyncio.to_thread(self._trees.all):
            await self._trees.remove(project, name, partial(self._is_free, project, name))
        await asyncio.to_thread(self._trees.remove_leftovers)

    async def _is_free(self, project: uuid.UUID, name: str) -> bool:
        async with self._database.reading() as connection:
            return not await checkouts.holds(connection, project, name)
