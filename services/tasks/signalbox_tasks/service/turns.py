"""Whose turn it is: which runs begin, how they are stopped, and what follows when one ends."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.auth import QuotaLimits, QuotaName
from signalbox_common.contracts.tasks import RunError, RunState, StepName, StopReason
from signalbox_common.db import Transaction
from signalbox_common.errors import AlreadyEnded, QuotaExceeded, SignalboxError
from signalbox_common.outcomes import Outcome
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.work import Worker
from signalbox_tasks import errors
from signalbox_tasks.domain import RANKS, SANDBOX_LOST, Run, Task, plan_of
from signalbox_tasks.replies import task_reply, tell, tell_of_run
from signalbox_tasks.service.notices import Notices
from signalbox_tasks.store import agents, projects, runs, tasks, usage
from signalbox_tasks.store.projects import ProjectState

RUN, CLOSE = "run", "close"
"""The work on one run, and what is left to put away of one that has ended; their key is its id."""
GRACE = 1.0
"""Seconds in which programs may end by themselves."""
_IN_VAIN = RunError(code="dependency_failed", detail="A task that it waits for did not succeed.")


class Turns:
    """All of it with the project locked, which comes after rows of work, and before runs and tasks."""

    def __init__(self, worker: Worker, quotas: ProjectQuotas) -> None:
        self._worker = worker
        self._notices = Notices(worker)
        self._quotas = quotas

    async def locked(self, transaction: Transaction, project: uuid.UUID) -> ProjectState:
        """For something new; raises where there is nothing new any more."""
        state = await projects.lock(transaction, project)
        if state.is_deleted:
            raise errors.ProjectGone
        return state

    async def add(
        self, transaction: Transaction, given: Sequence[tuple[Task, Run]], state: ProjectState
    ) -> None:
        """Runs of tasks that are there; raises what stands against one of them."""
        self.check_room(state, len(given))
        if any(spends(task, run) for task, run in given):
            await self._check_budget(transaction.connection, self._quotas.limits(state.quotas), state.project)
        if all(task.spec.concurrency is None for task, _ in given):
            await self._enqueue(transaction, given, state)
        else:
            for task, run in given:
                await self._make_way(transaction, task, state)
                await self._enqueue(transaction, [(task, run)], state)
        for task, run in given:
            if task.spec.depends_on and await tasks.waits_in_vain(transaction, task.id):
                await self._end(transaction, run.failed(_IN_VAIN), state)

    def check_room(self, state: ProjectState, more: int) -> None:
        most = self._quotas.limits(state.quotas).queued_tasks
        if most is not None and state.queued + more > most:
            raise QuotaExceeded(QuotaName.QUEUED_TASKS, limit=most, used=state.queued)

    async def check_budget(self, connection: AsyncConnection, project: uuid.UUID) -> None:
        """Raises where nothing more is to be asked of a model this month."""
        await self._check_budget(connection, (await self._quotas.of(connection, project)).limits, project)

    @staticmethod
    async def _check_budget(connection: AsyncConnection, limits: QuotaLimits, project: uuid.UUID) -> None:
        if limits.tokens_per_month is None and limits.cost_per_month is None:
            return
        tokens, cost = await usage.of_month(connection, project)
        for name, most, used in (
            (QuotaName.TOKENS_PER_MONTH, limits.tokens_per_month, tokens),
            (QuotaName.COST_PER_MONTH, limits.cost_per_month, float(cost)),
        ):
            if most is not None and used >= most:
                raise QuotaExceeded(name, limit=most, used=used)

    async def _make_way(self, transaction: Transaction, task: Task, state: ProjectState) -> None:
        concurrency = task.spec.concurrency
        if concurrency is not None and concurrency.policy != "queue":
            others = await runs.with_key(transaction, task.project_id, concurrency.key)
            if others and concurrency.policy == "reject":
                raise errors.ConcurrencyBusy
            oldest = next((each for each in others if not each.stopping), None)
            if oldest is not None:
                await self._stop(transaction, oldest, StopReason.SUPERSEDED, state)

    @staticmethod
    async def _enqueue(
        transaction: Transaction, given: Sequence[tuple[Task, Run]], state: ProjectState
    ) -> None:
        waiting = [replace(run, ends_at=state.lived + task.spec.queue_timeout) for task, run in given]
        await runs.add(transaction, waiting)
        for run in waiting:
            tell_of_run(transaction, run)
        state.queued += len(waiting)

    async def admit(self, transaction: Transaction, state: ProjectState) -> None:
        """Lets begin what may, the most urgent and the oldest first; and what was counted is saved."""
        more = not state.is_deleted
        most = self._quotas.limits(state.quotas).running_tasks
        while more and (free := min(_room(most, state), state.queued)) > 0:
            found, more = await runs.admitted(transaction, state.project, free)
            for run in found:
                await self._worker.put(transaction, RUN, str(run), project=state.project)
            state.active += len(found)
            state.queued -= len(found)
        await projects.save(transaction, state)

    async def stop(self, transaction: Transaction, run: Run, reason: StopReason, state: ProjectState) -> Run:
        """It ends at once where it has not begun; else as soon as what it has is put away."""
        stopped = await self._stop(transaction, run, reason, state)
        await self.admit(transaction, state)
        return stopped

    async def _stop(self, transaction: Transaction, run: Run, reason: StopReason, state: ProjectState) -> Run:
        if run.ended or run.stopping:
            return run
        if not run.admitted:
            return await self._end(transaction, replace(run, stop_reason=reason), state)
        stopped = run.stopped(reason)
        await runs.save(transaction, stopped)
        await self.follow(transaction, stopped, state.moment)
        tell(transaction, run, contract.RunStopRequested(run=run.id, reason=reason, grace=GRACE))
        tell_of_run(transaction, stopped)
        await self._worker.table.hurry(transaction, RUN, str(run.id))
        self._worker.wake_after(transaction)
        return stopped

    async def end(
        self,
        transaction: Transaction,
        run: Run,
        state: ProjectState,
        *,
        task: Task | None = None,
        keep_sandbox: bool = False,
    ) -> None:
        """With all that follows: who waits for it is answered, who waits behind it begins, or fails too."""
        await self._end(transaction, run, state, task=task, keep_sandbox=keep_sandbox)
        await self.admit(transaction, state)

    async def _end(
        self,
        transaction: Transaction,
        run: Run,
        state: ProjectState,
        *,
        task: Task | None = None,
        keep_sandbox: bool = False,
    ) -> Run:
        ended, may_succeed = await self._end_one(
            transaction, run, state, task=task, keep_sandbox=keep_sandbox
        )
        failed = [] if may_succeed else [ended.task_id]
        while failed:
            for dependent in await tasks.dependents(transaction, failed.pop()):
                waits = await runs.queued_of(transaction, dependent)
                if waits is not None:
                    await self._end_one(transaction, waits.failed(_IN_VAIN), state)
                    failed.append(dependent)
        return ended

    async def _end_one(
        self,
        transaction: Transaction,
        run: Run,
        state: ProjectState,
        *,
        task: Task | None = None,
        keep_sandbox: bool = False,
    ) -> tuple[Run, bool]:
        """The run, and whether its task has succeeded or may do so yet."""
        ended = run.end(state.moment)
        await runs.save(transaction, ended)
        await usage.count(transaction, ended, state.moment)
        if ended.agent is not None:
            await agents.count(transaction, ended, state.moment)
        task = task or await tasks.get(transaction.connection, run.project_id, run.task_id)
        goes_on = task is not None and task.run == run.id and task.retries(ended) and not state.is_deleted
        task = await self.follow(transaction, ended, state.moment, task, is_told=not goes_on)
        if run.proof_at is not None:  # else nobody was asked for anything, and has nothing of it
            event = contract.RunEnded(
                run=run.id,
                task=run.task_id,
                state=ended.state,
                error=ended.error,
                keep_sandbox=keep_sandbox,
            )
            tell(transaction, ended, event)
        tell_of_run(transaction, ended)
        if run.admitted:
            state.active -= 1
        else:
            state.queued -= 1
        if run.was_stopped:
            await self._answer(transaction, ended, task)
        if task is not None and goes_on:
            await self._retry(transaction, task, ended, state)
            return ended, True
        if run.proof_at is not None and run.holder is None:
            await self._worker.put(transaction, CLOSE, str(run.authority), project=run.project_id)
        return ended, ended.state is RunState.SUCCEEDED

    async def _retry(self, transaction: Transaction, task: Task, run: Run, state: ProjectState) -> None:
        """By itself, as the task wants it, and for whoever has asked for the one before."""
        again = task.again(uuid.uuid5(run.id, "retry"), state.moment)
        await tasks.save(transaction, again)
        following = first_run(again, by=run.created_by, name=run.created_by_name, attempt=again.attempts)
        following = following.acting_under(run.authority, run.proof_at, run.holder)
        following = replace(following, wish=replace(run.wish, attempt=run.wish.attempt + 1))
        if run.step is StepName.DELIVER and run.to_deliver is not None:  # the work itself is done
            following = following.delivering(run.to_deliver)
        elif run.error is not None and run.error.code == SANDBOX_LOST and run.checkpoint is not None:
            following = following.restoring(run.checkpoint)
        await self._enqueue(transaction, [(again, following)], state)

    async def follow(
        self,
        transaction: Transaction,
        run: Run,
        now: datetime,
        known: Task | None = None,
        *,
        is_told: bool = True,
    ) -> Task | None:
        """Its task is as its newest run is, and others are told; not where another run follows at once."""
        task = known or await tasks.get(transaction.connection, run.project_id, run.task_id)
        if task is None:
            return None
        found = task.follows(run, now)
        await tasks.save(transaction, found)
        if is_told:
            await self._notices.tell(transaction, found, run)
        return found

    async def _answer(self, transaction: Transaction, run: Run, task: Task | None) -> None:
        """Who wanted it cancelled; where it was faster, it says so."""
        for command in await runs.taken_commands(transaction, run.id):
            answer: SignalboxError | contract.Task = AlreadyEnded(resource=str(run.task_id))
            if run.state is RunState.CANCELLED and task is not None:
                answer = task_reply(task)
            outcome = Outcome.failure(answer) if isinstance(answer, SignalboxError) else Outcome.of(answer)
            await self._worker.table.pending.settle(transaction, command, outcome, resource=str(run.task_id))


def spends(task: Task, run: Run) -> bool:
    """Whether it may ask a model."""
    return StepName.SHELL in run.plan and (task.spec.bot is not None or task.spec.team is not None)


def _room(most: int | None, state: ProjectState) -> int:
    return most - state.active if most is not None else state.queued


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
        agent=task.spec.agent,
        created_by=by,
        created_by_name=name,
        queued_at=task.updated_at,
        authority=task.run,
    )
