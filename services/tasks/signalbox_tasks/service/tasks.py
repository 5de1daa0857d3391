"""Tasks: created, looked at, cancelled, and done again."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.tasks import NewTask, StopReason, TaskAttachment, TaskSpec, TaskStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import AlreadyEnded
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Deferred
from signalbox_common.paging import cut
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_tasks import errors
from signalbox_tasks.domain import RANKS, Run, Task
from signalbox_tasks.replies import task_reply
from signalbox_tasks.service.attachments import held
from signalbox_tasks.service.proofs import Proofs
from signalbox_tasks.service.turns import RUN, Turns, first_run
from signalbox_tasks.store import agents, attachments, environments, listing, projects, runs, tasks

UNDER_WAY = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.WAITING, TaskStatus.STOPPING})


class Tasks:
    def __init__(
        self, database: Database, worker: Worker, turns: Turns, proofs: Proofs, space: DiskSpace
    ) -> None:
        self._database = database
        self._worker = worker
        self._turns = turns
        self._proofs = proofs
        self._space = space

    # -- created -----------------------------------------------------------------------------------------

    async def create(self, call: Call, command: contract.CreateTask) -> contract.Task:
        return task_reply((await self._create(call, [command.task]))[0])

    async def create_many(self, call: Call, command: contract.CreateTasks) -> contract.TaskList:
        found = await self._create(call, command.tasks)
        return contract.TaskList(items=tuple(map(task_reply, found)))

    async def duplicate(self, call: Call, command: contract.DuplicateTask) -> contract.Task:
        async with self._database.reading() as connection:
            project = call.principal.project()
            found = await tasks.get(connection, project, command.task)
            if found is None:
                raise errors.TaskNotFound
            changes: dict[str, object] = {"branch": None}
            if (
                found.spec.agent is not None
                and await agents.get(connection, project, found.spec.agent) is None
            ):
                changes["agent"] = None  # gone; what it did can be done without it
        again = NewTask(
            title=found.title,
            description=found.description,
            priority=found.priority,
            labels=dict(found.labels),
            spec=found.spec.model_copy(update=changes),
        )
        return task_reply((await self._create(call, [again]))[0])

    async def start(self, call: Call, new: NewTask, *, schedule: uuid.UUID) -> Task:
        """For somebody who does not wait for its time."""
        return (await self._create(call, [new], schedule=schedule))[0]

    async def _create(
        self, call: Call, wanted: Sequence[NewTask], *, schedule: uuid.UUID | None = None
    ) -> list[Task]:
        """The work rows of what must make way come first, and then the project: as workers take them."""
        self._space.require()
        project, transaction = call.principal.project(), call.transaction
        await self._take_rows_in_the_way(call, wanted)
        state = await self._turns.locked(transaction, project)
        self._turns.check_room(state, len(wanted))  # before anything is kept for them
        who = call.principal
        made = []
        names = sorted(uuid7() for _ in wanted)  # in their order, also those of one moment
        for number, (name, new) in enumerate(zip(names, wanted, strict=True)):
            task = new_task(
                new,
                id_=name,
                project=project,
                spec=await checked(transaction, project, new.spec),
                attachments=await held(transaction, project, new.spec.attachments),
                run=uuid.uuid5(call.command_id, str(number)),
                by=who.user_id,
                now=state.moment,
                schedule=schedule,
            )
            run = first_run(task, by=who.user_id, name=who.username)
            made.append((task, await self._proofs.kept(call, run)))
        await tasks.add(transaction, [task for task, _ in made])
        await self._turns.add(transaction, made, state)
        await self._turns.admit(transaction, state)
        return [task for task, _ in made]

    async def _take_rows_in_the_way(self, call: Call, wanted: Sequence[NewTask]) -> None:
        for new in wanted:
            concurrency = new.spec.concurrency
            if concurrency is not None and concurrency.policy == "cancel-oldest":
                others = await runs.with_key(call.transaction, call.principal.project(), concurrency.key)
                for each in others:
                    await self._worker.table.called(call.transaction, RUN, str(each.id))

    # -- looked at ---------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetTask) -> contract.Task:
        async with self._database.reading() as connection:
            found = await tasks.get(connection, call.principal.project(), query.task)
        if found is None:
            raise errors.TaskNotFound
        return task_reply(found)

    async def place(self, _call: Call, query: contract.FindTask) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await tasks.place(connection, query.task)
        if project is None:
            raise errors.TaskNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListTasks) -> contract.TaskPage:
        async with self._database.reading() as connection:
            found = await listing.page(connection, call.principal.project(), query)
        replies = [task_reply(each) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: listing.place_of(each, query.sort))
        return contract.TaskPage(items=items, next_cursor=cursor)

    # -- changed -----------------------------------------------------------------------------------------

    async def cancel(self, call: Call, command: contract.CancelTask) -> contract.Task | Deferred:
        """Answered when its run has ended: what it has begun ends within two seconds, whoever works on it."""
        project, transaction = call.principal.project(), call.transaction
        run = await self._newest(call, command.task)
        await self._worker.table.called(transaction, RUN, str(run.id))
        state = await projects.lock(transaction, project)
        found = await runs.lock(transaction, project, run.id)
        if found is None or found.ended:
            raise AlreadyEnded
        stopped = await self._turns.stop(transaction, found, StopReason.CANCELLED, state)
        if stopped.ended:
            task = await tasks.lock(transaction, project, command.task)
            if task is None:
                raise errors.TaskNotFound
            return task_reply(task)
        await runs.wait_for(transaction, found.id, call.command_id)
        return Deferred(resource=str(command.task))

    async def cancel_many(self, call: Call, command: contract.CancelTasks) -> contract.TaskList:
        """Rows of work first, and those in one order, so that two who do this do not wait for each other."""
        project, transaction = call.principal.project(), call.transaction
        wanted = sorted(set(command.tasks))
        newest = [await self._newest(call, task) for task in wanted]
        for run in sorted(newest, key=lambda run: run.id):
            await self._worker.table.called(transaction, RUN, str(run.id))
        state = await projects.lock(transaction, project)
        for run in newest:
            found = await runs.lock(transaction, project, run.id)
            if found is not None:
                await self._turns.stop(transaction, found, StopReason.CANCELLED, state)
        stopped = [await tasks.get(transaction.connection, project, task) for task in wanted]
        return contract.TaskList(items=tuple(task_reply(each) for each in stopped if each is not None))

    async def update(self, call: Call, command: contract.UpdateTask) -> contract.Task:
        project, transaction = call.principal.project(), call.transaction
        state = await projects.lock(transaction, project)
        task = await tasks.lock(transaction, project, command.task)
        if task is None:
            raise errors.TaskNotFound
        names = ("title", "description", "priority", "labels")
        changes = {name: value for name in names if (value := getattr(command, name)) is not None}
        found = replace(task, **changes, updated_at=state.moment)
        await tasks.rename(transaction, found)
        if command.priority is not None:
            await runs.set_rank(transaction, task.id, RANKS[command.priority])
        return task_reply(found)

    async def delete(self, call: Call, command: contract.DeleteTask) -> Empty:
        project, transaction = call.principal.project(), call.transaction
        await projects.lock(transaction, project)
        task = await tasks.lock(transaction, project, command.task)
        if task is None:
            raise errors.TaskNotFound
        if task.status in UNDER_WAY:
            raise errors.RunUnderWay
        given = [each.id for each in task.attachments]
        await tasks.remove(transaction, task.id)
        await attachments.remove(transaction, project, given)
        return Empty()

    async def _newest(self, call: Call, task: uuid.UUID) -> Run:
        async with self._database.reading() as connection:
            found = await runs.of_task(connection, call.principal.project(), task, limit=1)
        if not found:
            raise errors.TaskNotFound
        return found[0]


async def checked(transaction: Transaction, project: uuid.UUID, spec: TaskSpec) -> TaskSpec:
    """With what its agent works as at the moment; raises what it refers to, and is not there."""
    if spec.depends_on:
        known = await tasks.known(transaction, project, spec.depends_on)
        if missing := set(spec.depends_on) - known:
            raise errors.DependencyNotFound(min(missing))
    environment = spec.exec.environment if spec.exec is not None else None
    if environment is not None and not await environments.hold(transaction, project, environment):
        raise errors.EnvironmentNotFound
    if spec.agent is None:
        return spec
    agent = await agents.get(transaction.connection, project, spec.agent)
    if agent is None:
        raise errors.AgentNotFound
    return spec.model_copy(update={"bot": agent.bot, "team": agent.team})


def new_task(
    new: NewTask,
    *,
    id_: uuid.UUID,
    project: uuid.UUID,
    spec: TaskSpec,
    attachments: tuple[TaskAttachment, ...],
    run: uuid.UUID,
    by: uuid.UUID,
    now: datetime,
    schedule: uuid.UUID | None = None,
    trigger: uuid.UUID | None = None,
) -> Task:
    return Task(
        id=id_,
        project_id=project,
        title=new.title.strip(),
        description=new.description,
        priority=new.priority,
        labels=new.labels,
        spec=spec,
        run=run,
        created_by=by,
        created_at=now,
        updated_at=now,
        attachments=attachments,
        schedule=schedule,
        trigger=trigger,
    )
