"""What is left of a run that has ended: the right to act for its person goes."""

import uuid

from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.service.turns import CLOSE
from signalbox_tasks.work.delegations import Delegations

_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)


class Closing:
    def __init__(self, delegations: Delegations) -> None:
        self._delegations = delegations

    def register(self, worker: Worker) -> None:
        worker.on(CLOSE, retry=Retry(_PAUSES))(self.close)

    async def close(self, job: Job) -> None:
        await self._delegations.end(uuid.UUID(job.key))
