"""The right of a schedule or a trigger to act for whoever has said last what it does: taken, and renewed."""

import uuid

from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import StepIds
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.service.authorities import AUTHORITY
from signalbox_tasks.service.holders import stop_under
from signalbox_tasks.store import authorities
from signalbox_tasks.work.delegations import MOST_HOURS, Delegations, NotDelegated
from signalbox_tasks.work.scheduler import Scheduler

_RENEWED_AFTER = MOST_HOURS * 3600 * 2 / 3
_LOOK = 5.0
"""Seconds between looks at runs that go on under the right of before."""


class StandingAuthority:
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
        worker.on(AUTHORITY, retry=Retry(), failed=self._given_up)(self.keep)

    async def keep(self, job: Job) -> None:
        authority = uuid.UUID(job.key)
        async with self._database.reading() as connection:
            holder = await authorities.holder(connection, authority)
        if holder is None:
            await self._end(job, authority)
            return
        reason = None
        try:
            if holder.delegated:
                await self._delegations.renew(authority, MOST_HOURS)
            else:
                await self._delegations.take(
                    job,
                    authority,
                    command=self._ids.for_step(AUTHORITY, str(authority)),
                    proof_at=holder.proof_at,
                    hours=MOST_HOURS,
                    operation=str(holder.id),
                )
        except NotDelegated as error:
            reason = str(error)
        async with job.transaction() as transaction:
            if reason is not None:
                is_there = await stop_under(transaction, authority, reason)
            else:
                is_there = await authorities.set_delegated(transaction, authority)
                transaction.after_commit.append(self._scheduler.look)
            await job.again(transaction, self._renewed_after if is_there else 0.0)

    async def _end(self, job: Job, authority: uuid.UUID) -> None:
        """Its holder is gone, or acts under another one: with the last run that was started under it."""
        async with self._database.reading() as connection:
            in_use = await authorities.is_in_use(connection, authority)
        if not in_use:
            await self._delegations.end(authority)
            return
        async with job.transaction() as transaction:
            await job.again(transaction, _LOOK)

    async def _given_up(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        await stop_under(transaction, uuid.UUID(job.key), error.detail)
