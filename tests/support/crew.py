"""Workers of one service on one database, for tests that watch them."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox
from signalbox_common.testing import eventually
from signalbox_common.work import Job, Worker
from tests.support.installation import Installation
from tests.support.lab import LabSettings

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
KIND = "lab"
LEASE = 0.6


async def succeed(_job: Job) -> None:
    """The least that there is to do."""


@dataclass
class Crew:
    """Workers of one service on one database, and what they have done."""

    database: Database
    act: Callable[[Job], Awaitable[None]] = succeed
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    def hire(
        self, *, lease: float = LEASE, room: int = 100, node: str | None = None, **limits: Any
    ) -> Worker:
        name = f"worker-{len(self.workers)}"
        worker = Worker(self.database, Inbox(self.database).pending, name, node=node, room=room)
        worker.table.lease, worker.heartbeat = lease, lease / 3

        async def failed(_transaction: Transaction, job: Job, error: SignalboxError) -> None:
            self.failed.append(f"{job.key}: {error.code}")

        @worker.on(KIND, failed=failed, **limits)
        async def do(job: Job) -> None:
            await self.act(job)
            self.done.append(job.key)

        self.workers.append(worker)
        return worker

    async def put(self, *keys: str, project: uuid.UUID | None = ONE, **more: Any) -> None:
        async with self.database.transaction() as transaction:
            for key in keys:
                await self.workers[0].put(transaction, KIND, key, project=project, **more)

    async def rows(self, where: str = "true") -> list[Any]:
        async with self.database.reading() as connection:
            found = await connection.execute(text(f"select * from tasks.work where {where} order by id"))
            return list(found.all())

    async def all_done(self) -> None:
        async def empty() -> bool:
            return not await self.rows("state <> 'failed'")

        await eventually(empty, within=60, what="all work is done")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        for worker in self.workers:
            worker.start()
        try:
            yield
        finally:
            for worker in self.workers:
                await worker.stop(5.0)


@asynccontextmanager
async def crew_of(installation: Installation) -> AsyncIterator[Crew]:
    """Nobody is hired yet."""
    found = Crew(Database(installation.settings(LabSettings, "tasks")))
    yield found
    await found.database.close()
