"""Schedules: declared, looked at, paused and resumed."""

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.tasks import NewTask, ScheduledTask, Timing
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, number_cursor
from signalbox_tasks import errors
from signalbox_tasks.replies import SCHEMA, task_reply
from signalbox_tasks.schedules import BadTiming, Schedule, Times
from signalbox_tasks.service.attachments import held
from signalbox_tasks.service.authorities import Authorities, given
from signalbox_tasks.service.tasks import Tasks, checked
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import projects, schedules
from signalbox_tasks.store.schedules import Fired

MOST = 10_000


class Schedules:
    def __init__(self, database: Database, turns: Turns, authorities: Authorities, tasks: Tasks) -> None:
        self._database = database
        self._turns = turns
        self._authorities = authorities
        self._tasks = tasks

    # -- declared ----------------------------------------------------------------------------------------

    async def create(self, call: Call, command: contract.CreateSchedule) -> contract.Schedule:
        transaction, who = call.transaction, call.principal
        state = await self._turns.locked(transaction, who.project())
        if await schedules.of_project(transaction, state.project) >= MOST:
            raise errors.TooManySchedules(MOST)
        policies = command.policies
        times = _times(command.timing, state.moment)
        schedule = Schedule(
            id=uuid7(),
            project_id=state.project,
            name=command.name.strip(),
            times=times,
            task=await self._checked(call, command.task),
            misfire=policies.misfire,
            misfire_limit=policies.misfire_limit,
            late_after=policies.late_after,
            overlap=policies.overlap,
            paused=command.paused,
            next_at=None if command.paused else times.next_after(state.moment),
            created_by=who.user_id,
            created_at=state.moment,
            updated_at=state.moment,
            **given(call, state.moment),
        )
        await schedules.add(transaction, schedule)
        await self._authorities.keep(call, schedule.authority)
        _tell(transaction, schedule)
        return schedule_reply(schedule)

    async def update(self, call: Call, command: contract.UpdateSchedule) -> contract.Schedule:
        found = await self._locked(call, command.schedule)
        state = await self._turns.locked(call.transaction, found.project_id)
        names = ("misfire", "misfire_limit", "late_after", "overlap")
        changes: dict[str, Any] = {
            name: value for name in names if (value := getattr(command, name)) is not None
        }
        if command.name is not None:
            changes["name"] = command.name.strip()
        if command.task is not None:
            changes["task"] = await self._checked(call, command.task)
        if (timing := _changed_timing(command, found.times)) is not None:
            times = changes["times"] = _times(timing, state.moment)
            changes["next_at"] = None if found.paused else times.next_after(state.moment)
        return await self._acting_for(call, found, found.changed(state.moment, **changes))

    async def resume(self, call: Call, command: contract.ResumeSchedule) -> contract.Schedule:
        found = await self._locked(call, command.schedule)
        state = await self._turns.locked(call.transaction, found.project_id)
        if not found.paused:
            return schedule_reply(found)
        return await self._acting_for(call, found, found.resumed(state.moment))

    async def pause(self, call: Call, command: contract.PauseSchedule) -> contract.Schedule:
        found = await self._locked(call, command.schedule)
        if found.paused and found.reason is None:
            return schedule_reply(found)
        moment, _ = await projects.moments(call.transaction)
        paused = found.stopped(moment)
        await schedules.save(call.transaction, paused)
        _tell(call.transaction, paused)
        return schedule_reply(paused)

    async def delete(self, call: Call, command: contract.DeleteSchedule) -> Empty:
        found = await self._locked(call, command.schedule)
        await schedules.remove(call.transaction, found.id)
        await self._authorities.let_go(call.transaction, found.authority, found.project_id)
        event = contract.ScheduleDeleted(schedule=found.id)
        outbox.emit(call.transaction, SCHEMA, event, project=found.project_id)
        return Empty()

    async def run(self, call: Call, command: contract.RunSchedule) -> contract.Task:
        """For whoever asks, under their own authority, and whatever else of it is under way."""
        found = await self._locked(call, command.schedule)
        task = await self._tasks.start(call, found.task, schedule=found.id)
        fired = Fired(
            schedule=found.id,
            due_at=task.created_at,
            until=task.created_at,
            outcome="started",
            fired_at=task.created_at,
            task_id=task.id,
            run_id=task.run,
            asked_by=call.principal.user_id,
        )
        await schedules.note(call.transaction, [fired])
        return task_reply(task)

    async def forget(self, transaction: Transaction, days: int) -> None:
        """What became of their times so long ago, and those of projects that were deleted then."""
        for authority in await schedules.forget(transaction, days):
            await self._authorities.let_go(transaction, authority)

    async def _checked(self, call: Call, task: NewTask) -> ScheduledTask:
        """What it refers to is there, and stays as long as it does."""
        project = call.principal.project()
        await checked(call.transaction, project, task.spec)
        await held(call.transaction, project, task.spec.attachments)
        return ScheduledTask(**dict(task))

    async def _acting_for(self, call: Call, before: Schedule, schedule: Schedule) -> contract.Schedule:
        schedule = replace(schedule, **given(call, schedule.updated_at))
        await schedules.save(call.transaction, schedule)
        await self._authorities.let_go(call.transaction, before.authority, before.project_id)
        await self._authorities.keep(call, schedule.authority)
        _tell(call.transaction, schedule)
        return schedule_reply(schedule)

    async def _locked(self, call: Call, schedule: uuid.UUID) -> Schedule:
        project, known = call.principal.project(), None
        while True:
            found = await schedules.get(call.transaction.connection, project, schedule)
            if found is not None and found.authority != known:
                known = found.authority
                await self._authorities.lock(call.transaction, known)
            found = await schedules.lock(call.transaction, project, schedule)
            if found is None:
                raise errors.ScheduleNotFound
            if found.authority == known:
                return found

    # -- looked at ---------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetSchedule) -> contract.Schedule:
        async with self._database.reading() as connection:
            return schedule_reply(await _there(connection, call, query.schedule))

    async def place(self, _call: Call, query: contract.FindSchedule) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await schedules.place(connection, query.schedule)
        if project is None:
            raise errors.ScheduleNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListSchedules) -> contract.SchedulePage:
        async with self._database.reading() as connection:
            found = await schedules.page(
                connection,
                call.principal.project(),
                words=query.q,
                cursor=query.cursor,
                limit=query.limit + 1,
            )
        items, cursor = cut(list(map(schedule_reply, found)), query.limit, lambda each: id_cursor(each.id))
        return contract.SchedulePage(items=items, next_cursor=cursor)

    async def firings(self, call: Call, query: contract.ListFirings) -> contract.FiringPage:
        async with self._database.reading() as connection:
            found = await _there(connection, call, query.schedule)
            rows = await schedules.firings(connection, found.id, cursor=query.cursor, limit=query.limit + 1)
        items, cursor = cut(rows, query.limit, lambda each: number_cursor(each.id))
        return contract.FiringPage(items=items, next_cursor=cursor)


async def stop_under(transaction: Transaction, authority: uuid.UUID, reason: str) -> bool:
    """The schedule that acts under it starts nothing more, and says why; False where there is none."""
    found = await schedules.lock_under(transaction, authority)
    if found is None or found.paused:
        return found is not None
    moment, _ = await projects.moments(transaction)
    stopped = found.stopped(moment, reason)
    await schedules.save(transaction, stopped)
    _tell(transaction, stopped)
    return True


async def _there(connection: AsyncConnection, call: Call, schedule: uuid.UUID) -> Schedule:
    found = await schedules.get(connection, call.principal.project(), schedule)
    if found is None:
        raise errors.ScheduleNotFound
    return found


def _times(timing: Timing, now: datetime) -> Times:
    try:
        return Times.of(timing, now)
    except BadTiming as error:
        raise errors.BadSchedule(str(error)) from error


def _changed_timing(command: contract.UpdateSchedule, before: Times) -> Timing | None:
    """None where nothing is said of it."""
    named = {name: getattr(command, name) for name in ("cron", "at", "every")}
    if all(value is None for value in named.values()):
        if command.timezone in (None, before.timezone):
            return None
        named = {name: getattr(before, name) for name in named}
    return Timing(**named, timezone=command.timezone or before.timezone)


def _tell(transaction: Transaction, schedule: Schedule) -> None:
    event = contract.ScheduleChanged(
        schedule=schedule.id,
        name=schedule.name,
        paused=schedule.paused,
        reason=schedule.reason,
        version=schedule.version,
    )
    outbox.emit(transaction, SCHEMA, event, project=schedule.project_id)


def schedule_reply(found: Schedule) -> contract.Schedule:
    times = found.times
    return contract.Schedule(
        id=found.id,
        project_id=found.project_id,
        name=found.name,
        cron=times.cron,
        at=times.at,
        every=times.every,
        timezone=times.timezone,
        task=found.task,
        misfire=found.misfire,
        misfire_limit=found.misfire_limit,
        late_after=found.late_after,
        overlap=found.overlap,
        paused=found.paused,
        reason=found.reason,
        next_runs=found.next_times(),
        last_run=found.last_at,
        last_task_id=found.last_task,
        acts_for=found.acts_for,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        version=found.version,
    )
