"""What is left of a run that has ended, or of a schedule: the right to act for its person goes."""

import uuid

from signalbox_common.db import Database
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.service.turns import CLOSE
from signalbox_tasks.store import schedules
from signalbox_tasks.work.delegations import Delegations

_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
_LOOK = 30.0
"""Seconds between looks at runs that go on under the right of a schedule that is gone."""


class Closing:
    def __init__(self, database: Database, delegations: Delegations) -> None:
        self._database = database
        self._delegations = delegations

    def register(self, worker: Worker) -> None:
        worker.on(CLOSE, retry=Retry(_PAUSES))(self.close)

    async def close(self, job: Job) -> None:
        authority = uuid.UUID(job.key)
        async with self._database.reading() as connection:
            in_use = await schedules.is_in_use(connection, authority)
        if in_use:
            async with job.transaction() as transaction:
                await job.again(transaction, _LOOK)
            return
        await self._delegations.end(authority)
