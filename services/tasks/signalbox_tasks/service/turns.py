"""Whose turn it is: which runs begin, how they are stopped, and what follows when one ends."""

import uuid
from dataclasses import replace

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import RunError, RunState, StopReason
from signalbox_common.db import Transaction
from signalbox_common.errors import AlreadyEnded, SignalboxError
from signalbox_common.outcomes import Outcome
from signalbox_common.work import Worker
from signalbox_tasks import errors
from signalbox_tasks.domain import RANKS, Run, Task, plan_of
from signalbox_tasks.replies import task_reply, tell, tell_of_run
from signalbox_tasks.store import projects, runs, tasks

RUN, CLOSE = "run", "close"
"""The work on one run, and what is left to put away of one that has ended; their key is its id."""
GRACE = 1.0
"""Seconds in which programs may end by themselves."""


class Turns:
    """All of it with the project locked, which comes after rows of work, and before runs and tasks."""

    def __init__(self, worker: Worker, *, most: int, most_queued: int) -> None:
        """`most` runs of a project are under way at a time, and `most_queued` wait."""
        self._worker = worker
        self._most = most
        self._most_queued = most_queued

    async def locked(self, transaction: Transaction, project: uuid.UUID) -> projects.ProjectState:
        """For something new; raises where there is nothing new any more."""
        state = await projects.lock(transaction, project)
        if state.is_deleted:
            raise errors.ProjectGone
        return state

    async def add(
        self, transaction: Transaction, task: Task, run: Run, state: projects.ProjectState
    ) -> projects.ProjectState:
        """Another run of a task, which is there; raises what stands against it."""
        if state.queued >= self._most_queued:
            raise errors.TooManyQueued(self._most_queued)
        if task.spec.concurrency is not None:
            await self._make_way(transaction, task, state)
            state = await projects.lock(transaction, task.project_id)
        return await self.enqueue(transaction, task, run, state)

    @staticmethod
    async def enqueue(
        transaction: Transaction, task: Task, run: Run, state: projects.ProjectState
    ) -> projects.ProjectState:
        _, lived = await projects.moments(transaction)
        run = replace(run, ends_at=lived + task.spec.queue_timeout)
        await runs.add(transaction, run)
        tell_of_run(transaction, run)
        await projects.save(transaction, task.project_id, active=state.active, queued=state.queued + 1)
        return replace(state, queued=state.queued + 1)

    async def _make_way(self, transaction: Transaction, task: Task, state: projects.ProjectState) -> None:
        concurrency = task.spec.concurrency
        if concurrency is None or concurrency.policy == "queue":
            return
        others = await runs.with_key(transaction, task.project_id, concurrency.key)
        if others and concurrency.policy == "reject":
            raise errors.ConcurrencyBusy
        oldest = next((each for each in others if not each.stopping), None)
        if oldest is not None:
            await self.stop(transaction, oldest, StopReason.SUPERSEDED, state)

    async def admit(self, transaction: Transaction, project: uuid.UUID) -> None:
        """Lets begin what may, the most urgent and the oldest first."""
        state = await projects.lock(transaction, project)
        free = min(self._most - state.active, state.queued)
        if free <= 0 or state.is_deleted:
            return
        found = await runs.next_ones(transaction, project, free)
        for run in found:
            await runs.save(transaction, replace(run, admitted=True))
            await self._worker.put(transaction, RUN, str(run.id), project=project)
        if found:
            active, queued = state.active + len(found), state.queued - len(found)
            await projects.save(transaction, project, active=active, queued=queued)

    async def stop(
        self, transaction: Transaction, run: Run, reason: StopReason, state: projects.ProjectState
    ) -> Run:
        """It ends at once where it has not begun; else as soon as what it has is put away."""
        if run.ended or run.stopping:
            return run
        if not run.admitted:
            return await self.end(transaction, replace(run, stop_reason=reason), state)
        stopped = run.stopped(reason)
        await runs.save(transaction, stopped)
        await self._follow(transaction, stopped, state)
        tell(transaction, run, contract.RunStopRequested(run=run.id, reason=reason, grace=GRACE))
        tell_of_run(transaction, stopped)
        await self._worker.table.hurry(transaction, RUN, str(run.id))
        self._worker.wake_after(transaction)
        return stopped

    async def end(
        self,
        transaction: Transaction,
        run: Run,
        state: projects.ProjectState,
        *,
        keep_sandbox: bool = False,
    ) -> Run:
        """With all that follows: who waits for it is answered, who waits behind it begins, or fails too."""
        ended = await self._end_one(transaction, run, state, keep_sandbox=keep_sandbox)
        failed = [] if await self._may_still_succeed(transaction, ended) else [ended.task_id]
        while failed:
            for task in await tasks.dependents(transaction, failed.pop()):
                waits = await runs.queued_of(transaction, task)
                if waits is not None:
                    reason = RunError(
                        code="dependency_failed", detail="A task that it waits for did not succeed."
                    )
                    await self._end_one(transaction, waits.failed(reason), state)
                    failed.append(task)
        await self.admit(transaction, run.project_id)
        return ended

    @staticmethod
    async def _may_still_succeed(transaction: Transaction, run: Run) -> bool:
        """Or has: where another run follows by itself, those that wait for its task go on waiting."""
        if run.state is RunState.SUCCEEDED:
            return True
        task = await tasks.get(transaction.connection, run.project_id, run.task_id)
        return task is not None and task.run != run.id

    async def _end_one(
        self,
        transaction: Transaction,
        run: Run,
        state: projects.ProjectState,
        *,
        keep_sandbox: bool = False,
    ) -> Run:
        ended = run.end(state.moment)
        await runs.save(transaction, ended)
        task = await self._follow(transaction, ended, state)
        event = contract.RunEnded(
            run=run.id,
            task=run.task_id,
            state=ended.state,
            error=ended.error,
            keep_sandbox=keep_sandbox,
        )
        tell(transaction, ended, event)
        tell_of_run(transaction, ended)
        now = await projects.lock(transaction, run.project_id)
        active, queued = (now.active - 1, now.queued) if run.admitted else (now.active, now.queued - 1)
        await projects.save(transaction, run.project_id, active=active, queued=queued)
        await self._answer(transaction, ended, task)
        if task is not None and task.run == run.id and task.retries(ended) and not now.is_deleted:
            await self._retry(transaction, task, ended, state)
        elif run.proof_at is not None:
            await self._worker.put(transaction, CLOSE, str(run.authority), project=run.project_id)
        return ended

    async def _retry(
        self, transaction: Transaction, task: Task, run: Run, state: projects.ProjectState
    ) -> None:
        """By itself, as the task wants it, and for whoever has asked for the one before."""
        again = task.again(uuid.uuid5(run.id, "retry"), state.moment)
        await tasks.save(transaction, again)
        following = replace(
            first_run(again, by=run.created_by, name=run.created_by_name, attempt=again.attempts),
            authority=run.authority,
            proof_at=run.proof_at,
            wish=replace(run.wish, attempt=run.wish.attempt + 1),
        )
        now = await projects.lock(transaction, task.project_id)
        await self.enqueue(transaction, again, following, now)

    async def _follow(self, transaction: Transaction, run: Run, state: projects.ProjectState) -> Task | None:
        task = await tasks.lock(transaction, run.project_id, run.task_id)
        if task is None:
            return None
        found = task.follows(run, state.moment)
        await tasks.save(transaction, found)
        return found

    async def _answer(self, transaction: Transaction, run: Run, task: Task | None) -> None:
        """Who wanted it cancelled; where it was faster, it says so."""
        for command in await runs.taken_commands(transaction, run.id):
            answer: SignalboxError | contract.Task = AlreadyEnded(resource=str(run.task_id))
            if run.state is RunState.CANCELLED and task is not None:
                answer = task_reply(task)
            outcome = Outcome.failure(answer) if isinstance(answer, SignalboxError) else Outcome.of(answer)
            await self._worker.table.pending.settle(transaction, command, outcome, resource=str(run.task_id))


def first_run(task: Task, *, by: uuid.UUID, name: str, attempt: int = 1) -> Run:
    """Queued; its id is that which the task names."""
    concurrency = task.spec.concurrency
    return Run(
        id=task.run,
        project_id=task.project_id,
        task_id=task.id,
        attempt=attempt,
        plan=plan_of(task.spec),
        rank=RANKS[task.priority],
        key=concurrency.key if concurrency is not None else None,
        created_by=by,
        created_by_name=name,
        queued_at=task.updated_at,
        authority=task.run,
    )
