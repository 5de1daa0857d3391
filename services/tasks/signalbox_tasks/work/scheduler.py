"""Starts tasks when their time has come: each time once, however many instances look, and whatever dies.

What a time has started is committed together with what comes next of its schedule, whose row is locked
meanwhile: an instance that dies over it has started nothing, and another one finds the same time due.

Where very many times come together, all of them are started at once, and their runs begin a few at a time:
whoever else wants something done does not wait for them.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from signalbox_common import background, telemetry
from signalbox_common.contracts.tasks import Concurrency, NewTask, Overlap, StopReason, TaskSpec
from signalbox_common.db import Database, Transaction, is_contention, is_outage
from signalbox_common.errors import SignalboxError
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.schedules import Due, Schedule
from signalbox_tasks.service.starting import add_alone, started
from signalbox_tasks.service.turns import RUN, Turns
from signalbox_tasks.store import projects, runs, schedules, tasks
from signalbox_tasks.store.projects import ProjectState
from signalbox_tasks.store.schedules import Fired

log = telemetry.get_logger()

BATCH = 100
"""Schedules that are looked at in one transaction."""
_BATCHES = 100
"""Until it is looked whether runs wait to begin."""
POLL = 1.0
"""Seconds after which it is looked in any case: others create schedules, and clocks are set."""
_PAUSE = 1.0
AT_ONCE = 16
"""Runs that are about to begin together."""
_RELEASE = 0.05
"""Seconds until it is looked who follows them."""
_SHOWN = 1000
STARTED, SKIPPED, FAILED = "started", "skipped", "failed"
_MISSED, _OVERLAP = "Nobody was there in time.", "An earlier task of it had not ended."


@dataclass
class _Turn:
    """One schedule whose time has come, in the hands of the transaction that has locked it."""

    schedule: Schedule
    due: list[Due]
    next_at: datetime | None
    left: list[uuid.UUID]
    """Runs of its tasks that have not ended."""
    fired: list[Fired] = field(default_factory=list)

    def note(self, due: Due, now: datetime, outcome: str, **more: Any) -> None:
        fired = Fired(
            schedule=self.schedule.id,
            due_at=due.first,
            until=due.last,
            times=due.times,
            outcome=outcome,
            fired_at=now,
            **more,
        )
        self.fired.append(fired)

    def fail(self, due: Due, now: datetime, error: SignalboxError) -> None:
        self.note(due, now, FAILED, reason=error.code, detail=error.detail[:_SHOWN])

    def start(self, due: Due, now: datetime, task: Task) -> None:
        self.note(due, now, STARTED, task_id=task.id, run_id=task.run)
        self.left.append(task.run)
        self.schedule = replace(self.schedule, last_at=due.last, last_task=task.id)


class Scheduler:
    """In each instance."""

    def __init__(self, database: Database, worker: Worker, turns: Turns, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._turns = turns
        self._space = space
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_on(), name="schedules")

    async def stop(self) -> None:
        await background.end(self._task)

    async def look(self) -> None:
        """There is something new."""
        self._wake.set()

    async def _look_on(self) -> None:
        while True:
            self._wake.clear()
            pause = _PAUSE
            try:
                for _ in range(_BATCHES):
                    if await self.fire() < BATCH:
                        break
                holds = await self.release()
                async with self._database.reading() as connection:
                    next_in = await schedules.next_in(connection)
                pause = min(each for each in (POLL, next_in, _RELEASE if holds else None) if each is not None)
            except Exception as error:  # noqa: BLE001 - whatever it was, what is due stays due
                log.warning("schedules not looked at", reason=repr(error)[:300])
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def release(self) -> bool:
        """Lets those begin whose turn it is; whether others wait behind them."""
        async with self._database.reading() as connection:
            room = AT_ONCE - await runs.beginning(connection)
            waiting = await runs.held(connection, max(1, room))
        if room <= 0:
            return bool(waiting)
        for project in sorted(waiting):
            async with self._database.transaction() as transaction:
                state = await projects.lock(transaction, project)
                await runs.let_go(transaction, waiting[project])
                await self._turns.admit(transaction, state)
        return bool(waiting)

    async def fire(self) -> int:
        """What is due now; returns how many schedules that was."""
        self._space.require()
        try:
            return await self._fire(BATCH)
        except Exception as error:
            if is_outage(error) or is_contention(error):
                raise
            log.exception("schedules fail together")
        return await self._fire_one_by_one()

    async def _fire_one_by_one(self) -> int:
        """One of them cannot be fired, and the others are not to wait for it."""
        async with self._database.reading() as connection:
            found = await schedules.due_ids(connection, BATCH)
        for each in found:
            try:
                await self._fire(1, only=each)
            except Exception as error:
                if is_outage(error) or is_contention(error):
                    raise
                log.exception("schedule fails", schedule=str(each))
                await self._give_up(each, error)
        return len(found)

    async def _give_up(self, schedule: uuid.UUID, error: Exception) -> None:
        """These times, by a fault of ours: those that follow are tried, where anybody can tell them."""
        reason = f"It could not be started: {error!r}"[:_SHOWN]
        async with self._database.transaction() as transaction:
            try:
                found = await schedules.due(transaction, 1, only=schedule)
            except ValidationError:
                await schedules.stop_unread(transaction, schedule, reason)
                return
            for each in found:
                now, _ = await projects.moments(transaction)
                due, next_at = each.due(now)
                turn = _Turn(each, due, next_at, [])
                for times in due:
                    turn.fail(times, now, SignalboxError(reason))
                await schedules.note(transaction, turn.fired)
                await schedules.move(transaction, [replace(each, next_at=next_at)])

    async def _fire(self, most: int, *, only: uuid.UUID | None = None) -> int:
        async with self._database.transaction() as transaction:
            found = await schedules.due(transaction, most, only=only)
            if not found:
                return 0
            now, _ = await projects.moments(transaction)
            left = await schedules.left(transaction, [each.id for each in found])
            room = 0  # where more is due than this, all of it is started before any of it begins
            if len(found) < most:
                room = AT_ONCE - await runs.beginning(transaction.connection)
            turns = [_Turn(each, *each.due(now), left.get(each.id, [])) for each in found]
            await self._take_rows_in_the_way(transaction, turns)
            done: list[_Turn] = []
            for project in sorted({each.project_id for each in found}):
                ours = [turn for turn in turns if turn.schedule.project_id == project]
                state = await projects.lock(transaction, project)
                if not state.is_deleted:
                    room = await self._fire_in(transaction, state, ours, room)
                    done += ours
            await schedules.note(transaction, [fired for turn in done for fired in turn.fired])
            await schedules.move(transaction, [replace(turn.schedule, next_at=turn.next_at) for turn in done])
        for turn in done:
            for fired in turn.fired:
                telemetry.SCHEDULE_TIMES.labels(fired.outcome).inc(fired.times)
        return len(found)

    async def _take_rows_in_the_way(self, transaction: Transaction, turns: Sequence[_Turn]) -> None:
        """Rows of work come before projects, as workers take them."""
        wanted: set[uuid.UUID] = set()
        for turn in turns:
            schedule = turn.schedule
            if schedule.overlap is Overlap.CANCEL:
                wanted |= set(turn.left)
            concurrency = schedule.task.spec.concurrency
            if concurrency is not None and concurrency.policy == "cancel-oldest":
                others = await runs.with_key(transaction, schedule.project_id, concurrency.key)
                wanted |= {each.id for each in others}
        for run in sorted(wanted):
            await self._worker.table.called(transaction, RUN, str(run))

    async def _fire_in(
        self, transaction: Transaction, state: ProjectState, turns: Sequence[_Turn], room: int
    ) -> int:
        """First the first time of each, then the second of those that have several; returns how many more may
        begin at once."""
        for place in range(max(len(turn.due) for turn in turns)):
            made: list[tuple[_Turn, Due, Task, Run]] = []
            for turn in turns:
                if place >= len(turn.due):
                    continue
                due = turn.due[place]
                if not due.fires:
                    turn.note(due, state.moment, SKIPPED, reason="missed", detail=_MISSED)
                    continue
                if turn.left and turn.schedule.overlap is Overlap.SKIP:
                    turn.note(due, state.moment, SKIPPED, reason="overlap", detail=_OVERLAP)
                    continue
                if turn.schedule.overlap is Overlap.CANCEL:
                    await self._cancel(transaction, state, turn)
                try:
                    task, run = await self._made(transaction, state, turn.schedule, len(made))
                    run, room = replace(run, held=room <= 0), room - 1
                    if _may_be_refused(task.spec):
                        await add_alone(transaction, self._turns, state, task, run)
                        turn.start(due, state.moment, task)
                    else:
                        made.append((turn, due, task, run))
                except SignalboxError as error:
                    turn.fail(due, state.moment, error)
            if made:
                await tasks.add(transaction, [task for _, _, task, _ in made])
                await self._turns.add(transaction, [(task, run) for _, _, task, run in made], state)
            for turn, due, task, _ in made:
                turn.start(due, state.moment, task)
            await self._turns.admit(transaction, state)
        return room

    async def _cancel(self, transaction: Transaction, state: ProjectState, turn: _Turn) -> None:
        for each in turn.left:
            run = await runs.lock(transaction, state.project, each)
            if run is not None:
                await self._turns.stop(transaction, run, StopReason.SUPERSEDED, state)
        turn.left.clear()

    async def _made(
        self, transaction: Transaction, state: ProjectState, schedule: Schedule, beside: int
    ) -> tuple[Task, Run]:
        """As its person may do it; raises what stands against it."""
        self._turns.check_room(state, beside + 1)
        return await started(transaction, _in_turn(schedule), schedule, state.moment, schedule=schedule.id)


def _in_turn(schedule: Schedule) -> NewTask:
    """Its tasks wait for each other where it says so, and they wait for nothing else."""
    new = schedule.task
    if schedule.overlap is not Overlap.QUEUE or new.spec.concurrency is not None:
        return new
    spec = new.spec.model_copy(update={"concurrency": Concurrency(key=schedule.key)})
    return new.model_copy(update={"spec": spec})


def _may_be_refused(spec: TaskSpec) -> bool:
    """Beyond what is looked at before."""
    return bool(spec.depends_on) or (spec.concurrency is not None and spec.concurrency.policy != "queue")
