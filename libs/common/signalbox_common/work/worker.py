"""Claims work and does it, as much at a time as there is room."""

import asyncio
import json
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Row

from signalbox_common import background, telemetry
from signalbox_common.bus.wakeups import ALL
from signalbox_common.db import Database, Transaction, is_contention, is_outage
from signalbox_common.errors import SignalboxError, Unavailable, WorkFailed, WorkUnderWay
from signalbox_common.outcomes import Outcome
from signalbox_common.pending import PendingOperations
from signalbox_common.work.job import Job, Overtaken
from signalbox_common.work.kinds import CancelHandler, FailureHandler, JobHandler, Kind, Retry, nothing_more
from signalbox_common.work.table import NO_PROJECT, WorkTable

log = telemetry.get_logger()

ROOM = 100
"""Jobs that one process has in hand."""
HEARTBEAT = 5.0
POLL = 5.0
"""Seconds after which a worker looks by itself: wake-ups may be lost."""
HELD_BACK_LOOK = 1.0
"""The same where something is due that a limit holds back, or for which there is no room here."""
OUTAGE_PAUSE = 1.0
ABANDONED = 10
"""Claims beyond its tries of which no worker lived, or was quick enough, to say how they ended."""
_ERROR_LENGTH = 8_000

Tell = Callable[[str], Awaitable[None]]
"""Wakes the instance, or the node, of that name."""


async def _alone(_name: str) -> None:
    """Where nothing is served, there is nobody to wake."""


class Worker:
    """The work of one service: what puts it there, and what does it."""

    def __init__(
        self,
        database: Database,
        pending: PendingOperations,
        instance: str,
        *,
        node: str | None = None,
        room: int = ROOM,
    ) -> None:
        node = node or instance
        self.table = WorkTable(database, pending, instance, node)
        self.names = (instance, node)
        """What it is woken by."""
        self.tell: Tell = _alone
        self._room = room
        self.heartbeat = HEARTBEAT
        self._kinds: dict[str, Kind] = {}
        self._wake = asyncio.Event()
        self._finished: list[Job] = []
        self._finishing = asyncio.Event()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._held_back = False
        self._others_know = False
        """That there is more to do than this worker can take on at the moment."""
        self._renewing = asyncio.Event()

    # -- what services use ---------------------------------------------------------------------------

    def on(
        self,
        kind: str,
        *,
        most: int = Kind.most,
        most_in_project: int = Kind.most_in_project,
        retry: Retry = Kind.retry,
        failed: FailureHandler = nothing_more,
        cancelled: CancelHandler | None = None,
    ) -> Callable[[JobHandler], JobHandler]:
        """Registers who does one kind of work; who returns has done it, who raises is called again."""

        def register(handler: JobHandler) -> JobHandler:
            self._kinds[kind] = Kind(kind, handler, most, most_in_project, retry, failed, cancelled)
            return handler

        return register

    async def put(
        self,
        transaction: Transaction,
        kind: str,
        key: str,
        *,
        project: uuid.UUID | None = None,
        payload: dict[str, Any] | None = None,
        due_in: float = 0.0,
        target: str | None = None,
        command_id: uuid.UUID | None = None,
        soonest: bool = False,
    ) -> bool:
        """Work to be done once this transaction has committed; False where that key has some already.

        `soonest` is for what is there already, and waits for a later time.

        With an operation that is to end with it, that is a conflict: nobody would ever answer. It holds no
        secrets: they would lie in the table.
        """
        self.wake_after(transaction, target)
        added = await self.table.put(
            transaction,
            {
                "kind": kind,
                "key": key,
                "project": project or NO_PROJECT,
                "due_in": due_in,
                "target": target,
                "command_id": command_id,
                "actor": transaction.actor,
                "operation": transaction.operation,
                "payload": json.dumps(payload or {}),
            },
        )
        if not added and command_id is not None:
            raise WorkUnderWay
        if not added and soonest:
            await self.table.hurry(transaction, kind, key)
        return added

    def wake_after(self, transaction: Transaction, target: str | None = None) -> None:
        """It has put something there, or made room; for the node called so, where that alone can do it."""
        here = target is None or target in self.names
        transaction.after_commit.append(self._look if here else partial(self.tell, str(target)))

    async def _look(self) -> None:
        """At what was put here: whatever the others were told of before, they do not know of this."""
        self._wake.set()
        self._others_know = False

    async def withdraw(self, transaction: Transaction, row: Row[Any], refusal: SignalboxError) -> None:
        """The row goes, whoever works on it; what waits for its end is told why."""
        await self.table.remove(transaction, row.id)
        if row.command_id is not None:
            await self.table.pending.settle(transaction, row.command_id, Outcome.failure(refusal))
        self.stop_after(transaction, row.lease_owner)

    def stop_after(self, transaction: Transaction, owner: str | None) -> None:
        """It has taken a row away from who works on it, if anybody does."""
        if owner is not None:
            transaction.after_commit.append(partial(self._stop_at, owner))

    async def _stop_at(self, owner: str) -> None:
        if owner in self.names:
            self.look(owner)
        else:
            await self.tell(owner)

    def look(self, name: str) -> None:
        """Somebody else says so; whoever is called by name looks at what it holds, too."""
        self._wake.set()
        if name == ALL:
            self._others_know = True
        else:
            self._renewing.set()

    def kind(self, name: str) -> Kind | None:
        """None where nobody here does such work any more."""
        return self._kinds.get(name)

    async def measure(self) -> None:
        """Sets the gauges to what there is now."""
        telemetry.WORK_ROWS.clear()
        telemetry.WORK_OLDEST.clear()
        for row in await self.table.counts():
            telemetry.WORK_ROWS.labels(row.kind, row.state).set(row.jobs)
            telemetry.WORK_OLDEST.labels(row.kind, row.state).set(row.oldest)

    # -- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """A service that registers nothing spends nothing."""
        if self._kinds:
            self._tasks = [
                asyncio.create_task(self._claim_all(), name="work"),
                asyncio.create_task(self._finish_all(), name="finished work"),
                asyncio.create_task(self._beat(), name="leases of work"),
            ]

    async def stop(self, grace: float) -> None:
        """Claims nothing new; what does not end in time is given back, as if it had not been begun."""
        claiming, *others = self._tasks or (None,)
        await background.end(claiming)
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        await background.end(*self._running)
        await background.end(*others)
        if not self._tasks:
            return
        try:
            if self._finished:
                await self.table.finish([(job.id, job.epoch) for job in self._finished])
            await self.table.leave()
        except Exception as error:  # noqa: BLE001 - leases end by themselves
            log.warning("work not given back", reason=repr(error)[:300])

    async def _claim_all(self) -> None:
        kinds = list(self._kinds.values())
        names, most, in_project = (
            [kind.name for kind in kinds],
            [kind.most for kind in kinds],
            [kind.most_in_project for kind in kinds],
        )
        looked_again = False
        while True:
            room = self._room - len(self._running) - len(self._finished)
            self._wake.clear()
            self._held_back, pause = True, HELD_BACK_LOOK
            if room > 0:
                try:
                    rows, lease_ends = await self.table.claim(names, most, in_project, room)
                    for row in rows:
                        self._begin(Job.of(row, self.table, lease_ends))
                    if len(rows) == room:
                        continue
                    pause = await self._pause()
                    if self._held_back and not looked_again:
                        looked_again = True  # it may have come after the claim, and is not held back at all
                        continue
                    looked_again = self._held_back
                except Exception as error:  # noqa: BLE001 - tried again: whatever it was, the work is still there
                    log.warning("work not claimed", reason=repr(error)[:300])
                    pause = OUTAGE_PAUSE
            await self._tell_others()
            await self._sleep(pause)

    async def _pause(self) -> float:
        """Until something is due, or somebody else's may have been left behind."""
        self._held_back, next_in = await self.table.left(list(self._kinds))
        longest = HELD_BACK_LOOK if self._held_back else POLL
        return longest if next_in is None else max(0.0, min(longest, next_in))

    async def _tell_others(self) -> None:
        """Once, where more is due than this worker can take on: others may, now or when theirs has ended."""
        if self._held_back and not self._others_know:
            await self.tell(ALL)
        self._others_know = self._held_back

    async def _sleep(self, seconds: float) -> None:
        await _set_within(self._wake, seconds)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job), name=f"{job.kind} {job.key}")
        self._running[task] = job
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        job = self._running.pop(task)
        if job.comes_again:
            self._wake.set()
        self._make_room()

    def _make_room(self) -> None:
        """What has ended makes room for what was held back; where nothing was, nobody need look."""
        if self._held_back:
            self._wake.set()

    async def _run(self, job: Job) -> None:
        kind = self._kinds[job.kind]
        telemetry.project_id.set(str(job.project) if job.project is not None else None)
        try:
            if job.attempts > kind.retry.tries + ABANDONED:
                # It took its worker along each time, as no machine that restarts or is slow would.
                await self._fail(job, kind, WorkFailed("It was begun this often, and never ended."))
                return
            await kind.handler(job)
            job.check_answered()
        except Overtaken:
            log.warning("overtaken", kind=job.kind, key=job.key, epoch=job.epoch)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, its row says what becomes of it
            await self._after(job, kind, error)
        else:
            if not job.ended:
                self._finished.append(job)
                self._finishing.set()

    async def _after(self, job: Job, kind: Kind, error: Exception) -> None:
        """What becomes of a row whose handler raised."""
        try:
            if is_outage(error) or is_contention(error) or isinstance(error, Unavailable):
                await self.table.give_back([(job.id, job.epoch)], OUTAGE_PAUSE)
                return
            pause = kind.retry.after(job.attempts)
            if isinstance(error, SignalboxError) and error.final:
                await self._fail(job, kind, error)
            elif pause is None:
                log.error("work failed", kind=job.kind, key=job.key, reason=repr(error)[:300])
                await self._fail(job, kind, WorkFailed(), error)
            else:
                log.warning("work tried again", kind=job.kind, key=job.key, reason=repr(error)[:300])
                if isinstance(error, SignalboxError) and error.retry_after is not None:
                    pause = max(pause, error.retry_after)
                async with job.transaction() as transaction:
                    await self.table.put_back(
                        transaction, job.id, pause, attempts=job.attempts, error=_stack(error)
                    )
        except Overtaken:
            log.warning("overtaken", kind=job.kind, key=job.key, epoch=job.epoch)
        except Exception as lost:  # noqa: BLE001 - the lease ends by itself, and the row is claimed again
            log.warning("end of work not written", kind=job.kind, key=job.key, reason=repr(lost)[:300])

    async def _fail(
        self, job: Job, kind: Kind, answer: SignalboxError, error: Exception | None = None
    ) -> None:
        """The row stays for an operator to try again or to drop; its operation has its answer."""
        async with job.transaction() as transaction:
            await kind.failed(transaction, job, answer)
            await self.table.fail(transaction, job.id, _stack(error or answer))
            await job.settle(transaction, answer)
        telemetry.WORK_FAILED.labels(job.kind).inc()

    async def _finish_all(self) -> None:
        """Many that end together are written together: as many as came while the last were written."""
        while True:
            await self._finishing.wait()
            self._finishing.clear()
            ending = list(self._finished)
            if not ending:
                continue
            try:
                ours = await self.table.finish([(job.id, job.epoch) for job in ending])
            except Exception as error:  # noqa: BLE001 - tried again, while their leases are renewed
                log.warning("ends of work not written", jobs=len(ending), reason=repr(error)[:300])
                await asyncio.sleep(OUTAGE_PAUSE)
                self._finishing.set()
                continue
            self._finished = self._finished[len(ending) :]
            for job in ending:
                if job.id not in ours:
                    log.warning("overtaken", kind=job.kind, key=job.key, epoch=job.epoch)
            if self._finished:
                self._finishing.set()
            self._make_room()

    async def _beat(self) -> None:
        while True:
            await _set_within(self._renewing, self.heartbeat)
            self._renewing.clear()
            held = [job for job in (*self._running.values(), *self._finished) if not job.ended]
            if not held:
                continue
            asked_at = time.monotonic()
            try:
                ours = await self.table.renew([(job.id, job.epoch) for job in held])
            except Exception as error:  # noqa: BLE001 - a lease that ends meanwhile is asked for before the next effect
                log.warning("leases not renewed", jobs=len(held), reason=repr(error)[:300])
                continue
            for job in held:
                if job.id in ours:
                    job.lease_ends = asked_at + self.table.lease
            self._let_go([job for job in held if job.id not in ours and not job.ended])

    def _let_go(self, lost: Sequence[Job]) -> None:
        """Whoever was overtaken stops at once, wherever it is."""
        overtaken = {(job.id, job.epoch) for job in lost}
        for task, job in self._running.items():
            if (job.id, job.epoch) in overtaken:
                log.warning("overtaken", kind=job.kind, key=job.key, epoch=job.epoch)
                task.cancel()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Returns then at the latest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _stack(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-_ERROR_LENGTH:]
