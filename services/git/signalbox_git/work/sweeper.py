"""Lets go of checkouts that nobody needs any more, and removes trees that no checkout has."""

import asyncio
import uuid
from dataclasses import replace
from functools import partial

from signalbox_common import telemetry
from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_git.domain import Checkout
from signalbox_git.store import checkouts
from signalbox_git.trees.trees import Trees

log = telemetry.get_logger()
SWEEP = "sweep"
"""The work of all trees; there is one."""
_EVERY = 60.0


class Sweeper:
    def __init__(self, database: Database, worker: Worker, trees: Trees, *, kept: float) -> None:
        """`kept` is in seconds: so long does a checkout stay that neither a run nor a sandbox has."""
        self._database = database
        self._worker = worker
        self._trees = trees
        self._kept = kept

    def register(self, worker: Worker) -> None:
        take = worker.on(SWEEP, most=1)
        take(self.sweep)

    async def start(self) -> None:
        async with self._database.transaction() as transaction:
            await self._worker.put(transaction, SWEEP, "trees")

    async def sweep(self, job: Job) -> None:
        try:
            async with job.transaction() as transaction:
                for found in await checkouts.unclaimed(transaction, self._kept):
                    await checkouts.save(transaction, replace(found, folder=None))
                    transaction.after_commit.append(partial(self._unlink, found))
            await job.keep()
            await self._remove_trees()
        except (OSError, SignalboxError) as error:
            log.warning("trees not swept", reason=repr(error)[:300])
        async with job.transaction() as transaction:
            await job.again(transaction, _EVERY)

    async def _unlink(self, found: Checkout) -> None:
        self._trees.unlink(found.project_id, found.id)

    async def _remove_trees(self) -> None:
        for project, name in await asyncio.to_thread(lambda: list(self._trees.all())):
            await self._trees.remove(project, name, partial(self._is_free, project, name))
        await asyncio.to_thread(self._trees.remove_leftovers)

    async def _is_free(self, project: uuid.UUID, name: str) -> bool:
        async with self._database.reading() as connection:
            return not await checkouts.holds(connection, project, name)
