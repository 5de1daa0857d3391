"""More runs of a task that is there: the same again, something beyond, or what is left delivered."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import TaskStatus
from signalbox_common.space import DiskSpace
from signalbox_tasks import errors
from signalbox_tasks.domain import Run, RunWish, Task
from signalbox_tasks.replies import run_reply, task_reply
from signalbox_tasks.service.proofs import Proofs
from signalbox_tasks.service.tasks import UNDER_WAY
from signalbox_tasks.service.turns import Turns, first_run
from signalbox_tasks.store import environments, projects, runs, tasks

_LOST = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.TIMED_OUT})


class Attempts:
    def __init__(self, turns: Turns, proofs: Proofs, space: DiskSpace) -> None:
        self._turns = turns
        self._proofs = proofs
        self._space = space

    async def retry(self, call: Call, command: contract.RetryTask) -> contract.Task:
        state, task = await self._ended(call, command.task)
        if task.status not in _LOST:
            raise errors.AlreadySucceeded
        before = await runs.get(call.transaction.connection, task.project_id, task.run)
        wish = replace(before.wish, attempt=1) if before is not None else RunWish()
        again, _ = await self._begun(call, task, state, wish)
        return task_reply(again)

    async def follow_up(self, call: Call, command: contract.FollowUpTask) -> contract.Task:
        state, task = await self._ended(call, command.task)
        environment = command.exec.environment if command.exec is not None else None
        if environment is not None and not await environments.hold(
            call.transaction, task.project_id, environment
        ):
            raise errors.EnvironmentNotFound
        wish = RunWish(message=command.message, exec=command.exec, goes_on=True)
        again, _ = await self._begun(call, task, state, wish)
        return task_reply(again)

    async def deliver(self, call: Call, command: contract.DeliverRun) -> contract.Run:
        """With what was collected; nothing is run for it."""
        found = await runs.get(call.transaction.connection, call.principal.project(), command.run)
        if found is None:
            raise errors.RunNotFound
        state, task = await self._ended(call, found.task_id)
        if "pushed" in found.facts:
            raise errors.AlreadyDelivered
        if (to_deliver := found.to_deliver) is None:
            raise errors.NothingToDeliver
        if command.commits == "squash":
            to_deliver = {**to_deliver, "bundle": None}
        wish = replace(
            found.wish, attempt=1, findings=command.findings, workflow_files=command.workflow_files
        )
        _, run = await self._begun(call, task, state, wish, to_deliver=to_deliver)
        return run_reply(run)

    async def _ended(self, call: Call, task: uuid.UUID) -> tuple[projects.ProjectState, Task]:
        """The task, where nothing of it is under way."""
        self._space.require()
        project = call.principal.project()
        state = await self._turns.locked(call.transaction, project)
        found = await tasks.lock(call.transaction, project, task)
        if found is None:
            raise errors.TaskNotFound
        if found.status in UNDER_WAY:
            raise errors.RunUnderWay
        return state, found

    async def _begun(
        self,
        call: Call,
        task: Task,
        state: projects.ProjectState,
        wish: RunWish,
        *,
        to_deliver: Mapping[str, Any] | None = None,
    ) -> tuple[Task, Run]:
        self._turns.check_room(state, 1)
        transaction, who = call.transaction, call.principal
        again = task.again(uuid.uuid5(call.command_id, "0"), state.moment)
        await tasks.save(transaction, again)
        run = first_run(again, by=who.user_id, name=who.username, attempt=again.attempts)
        run = replace(run, wish=wish)
        if to_deliver is not None:
            run = run.delivering(to_deliver)
        run = await self._proofs.kept(call, run)
        await self._turns.add(transaction, [(again, run)], state)
        await self._turns.admit(transaction, state)
        return again, run
