"""The right of a schedule to act for whoever has said last what it does: taken, and renewed in time."""

import uuid

from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import StepIds
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.service.schedules import SCHEDULE, stop_under
from signalbox_tasks.store import schedules
from signalbox_tasks.work.delegations import MOST_HOURS, Delegations, NotDelegated
from signalbox_tasks.work.scheduler import Scheduler

_RENEWED_AFTER = MOST_HOURS * 3600 * 2 / 3
_LOOK = 5.0
"""Seconds between looks at runs that go on under the right of before."""


class ScheduleAuthority:
    def __init__(
        self,
        database: Database,
        delegations: Delegations,
        scheduler: Scheduler,
        ids: StepIds,
        *,
        renewed_after: float = _RENEWED_AFTER,
    ) -> None:
        self._database = database
        self._delegations = delegations
        self._scheduler = scheduler
        self._ids = ids
        self._renewed_after = renewed_after

    def register(self, worker: Worker) -> None:
        worker.on(SCHEDULE, retry=Retry(), failed=self._given_up)(self.keep)

    async def keep(self, job: Job) -> None:
        authority = uuid.UUID(job.key)
        async with self._database.reading() as connection:
            schedule = await schedules.under(connection, authority)
        if schedule is None:
            await self._end(job, authority)
            return
        reason = None
        try:
            if schedule.delegated:
                await self._delegations.renew(authority, MOST_HOURS)
            else:
                await self._delegations.take(
                    job,
                    authority,
                    command=self._ids.for_step(SCHEDULE, str(authority)),
                    proof_at=schedule.proof_at,
                    hours=MOST_HOURS,
                    operation=str(schedule.id),
                )
        except NotDelegated as error:
            reason = str(error)
        async with job.transaction() as transaction:
            if reason is not None:
                is_there = await stop_under(transaction, authority, reason)
            else:
                is_there = await schedules.set_delegated(transaction, authority)
                transaction.after_commit.append(self._scheduler.look)
            await job.again(transaction, self._renewed_after if is_there else 0.0)

    async def _end(self, job: Job, authority: uuid.UUID) -> None:
        """The schedule is gone, or acts under another one: with the last run that was started under it."""
        async with self._database.reading() as connection:
            in_use = await schedules.is_in_use(connection, authority)
        if not in_use:
            await self._delegations.end(authority)
            return
        async with job.transaction() as transaction:
            await job.again(transaction, _LOOK)

    async def _given_up(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        await stop_under(transaction, uuid.UUID(job.key), error.detail)
