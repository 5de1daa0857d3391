"""Runs, from their turn to their end: a durable state machine, one row of work for each.

Whoever has the row goes on where the last one was: each step looks first what is there already. While
something else is waited for, nobody has the row; news of that, or a stop, make it due.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace

from signalbox_common import telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts.tasks import RunError, RunState, StepName, StepState, StopReason
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import QuotaExceeded, SignalboxError
from signalbox_common.keys import StepIds
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.domain import REASONS, SANDBOX_LOST, SHOWN, Run, Task, next_step
from signalbox_tasks.replies import tell_of_run
from signalbox_tasks.service.holders import stop_under
from signalbox_tasks.service.turns import RUN, Turns, spends
from signalbox_tasks.store import agents, projects, runs, steps, tasks
from signalbox_tasks.work.peers import AuthorityEnded, Grants, Peers
from signalbox_tasks.work.turn import LOOKS, Asking, Done, RunStepWork, StepFailed, Stopped, Turn, Waiting

log = telemetry.get_logger()
WAITS = 3600.0
"""Seconds after which a run that waits for a person is looked at, although nothing has happened."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before what has failed on our own side is tried again."""
_OVER = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.STOPPED})


class Engine:
    def __init__(
        self,
        database: Database,
        bus: Bus,
        turns: Turns,
        grants: Grants,
        ids: StepIds,
        work: Mapping[StepName, RunStepWork],
        *,
        most: int,
    ) -> None:
        self._database = database
        self._bus = bus
        self._turns = turns
        self._grants = grants
        self._ids = ids
        self._steps = work
        self._most = most

    def register(self, worker: Worker) -> None:
        worker.on(
            RUN,
            most=self._most,
            most_in_project=self._most,  # those of a project were counted when they were let begin
            retry=Retry(PAUSES),
            failed=self._broken,
        )(self.run)

    async def run(self, job: Job) -> None:
        """Until it has ended, or something is waited for."""
        while (turn := await self._next(job)) is not None:
            try:
                outcome = await self._steps[turn.step].do(turn)
            except StepFailed as failure:
                error = RunError(
                    code=failure.code, detail=failure.detail[:SHOWN], retryable=failure.retryable
                )
                await self._over(turn, error)
            except Stopped:
                await self._over(turn, None)
            except AuthorityEnded:
                await self._lose(turn)
            else:
                match outcome:
                    case Done():
                        await self._done(turn, outcome)
                    case Asking():
                        await self._ask(turn, outcome)
                        return
                    case Waiting():
                        if await self._wait(turn, outcome):
                            return

    # -- what comes next ---------------------------------------------------------------------------------

    async def _next(self, job: Job) -> Turn | None:
        project, identifier = _place_of(job)
        async with job.transaction() as transaction:
            run = await runs.get(transaction.connection, project, identifier)
            task = await tasks.get(transaction.connection, project, run.task_id) if run is not None else None
            if run is None or task is None or run.ended:
                await job.done(transaction)
                return None
            if run.state is RunState.WAITING:  # until somebody answers, or its time is over
                await job.again(transaction, WAITS)
                return None
            begun = run.state is RunState.QUEUED
            there = [] if begun else await steps.of_run(transaction.connection, run.id)
            known = {step.name: step for step in there}
            over = frozenset(name for name, step in known.items() if step.state in _OVER)
            if begun:
                run = await self._begun(transaction, run, task)
                run = await self._within_budget(transaction, run, task)
            good = frozenset(name for name, step in known.items() if step.state is StepState.SUCCEEDED)
            if task.spec.noop is not None and not run.stopping:
                await steps.end(transaction, run.id, StepName.SHELL, StepState.SUCCEEDED)
                over = good = frozenset(run.plan)
            name = next_step(run, over, frozenset(known))
            for left in known.keys() - over - {name}:
                await steps.end(transaction, run.id, left, StepState.STOPPED)
            if name is None:
                await self._end(transaction, job, run, task, whole=good >= frozenset(run.plan))
                return None
            if name not in known:
                await steps.begin(transaction, run.id, name)
            if run.step is not name:
                run = run.at(name)
                tell_of_run(transaction, run)
                await runs.save(transaction, run)
            if begun:
                await self._turns.follow(transaction, run, run.started_at or task.updated_at, task)
        request = known[name].request if name in known else None
        peers = Peers(self._bus, self._grants, run, job.epoch)
        return Turn(job, run, task, name, request, peers, self._database, self._ids)

    async def _begun(self, transaction: Transaction, run: Run, task: Task) -> Run:
        now, lived = await projects.moments(transaction)
        begun = run.begun(now, lived + task.spec.timeout)
        if run.agent is not None:
            said = f"begins: {task.title}"[:SHOWN]
            await agents.note(transaction, run.agent, type_="run.started", message=said, at=now, run=run.id)
        tell_of_run(transaction, begun)
        return begun

    async def _within_budget(self, transaction: Transaction, run: Run, task: Task) -> Run:
        """What others have used since it was asked for may have left nothing for it."""
        if spends(task, run):
            try:
                await self._turns.check_budget(transaction.connection, run.project_id)
            except QuotaExceeded as error:
                return run.failed(RunError(code=error.code, detail=error.detail))
        return run

    async def _end(self, transaction: Transaction, job: Job, run: Run, task: Task, *, whole: bool) -> None:
        """Its row is ours, so that nobody else changes the run; the project comes next."""
        state = await projects.lock(transaction, run.project_id)
        lost = run.stop_reason is StopReason.AUTHORITY_ENDED
        if run.stopping and whole and run.error is None:
            run = run.done_before_the_stop()
        await job.done(transaction)
        keep = lost or bool(run.facts.get("uncollected"))
        await self._turns.end(transaction, run, state, task=task, keep_sandbox=keep)
        self._grants.forget(run.authority)

    # -- what has come of a step -------------------------------------------------------------------------

    async def _done(self, turn: Turn, outcome: Done) -> None:
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            run = run.knowing(**outcome.facts)
            if outcome.result is not None:
                run = run.with_result(outcome.result)
            if outcome.plan is not None:
                run = replace(run, plan=outcome.plan)
            await steps.end(transaction, run.id, turn.step, StepState.SUCCEEDED, detail=outcome.detail)
            await runs.save(transaction, run)
        turn.job.payload = {}

    async def _over(self, turn: Turn, error: RunError | None) -> None:
        """Failed, or stopped where there is no error of its own."""
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            if error is None and not run.stopping:
                error = RunError(code=SANDBOX_LOST, detail="What it was about was ended by others.")
            state = StepState.STOPPED if run.stopping else StepState.FAILED
            await steps.end(transaction, run.id, turn.step, state, error=error)
            if not run.stopping and error is not None:
                run = run.failed(error)
            if turn.step is StepName.COLLECT and "changes" not in run.facts:
                run = run.knowing(uncollected=True)
            await runs.save(transaction, run)
        turn.job.payload = {}

    async def _lose(self, turn: Turn) -> None:
        """All of it ends: nothing can be asked for in its person's name any more, and nothing is started."""
        if turn.run.holder is not None:
            async with self._database.transaction() as transaction:
                await stop_under(transaction, turn.run.authority, REASONS[StopReason.AUTHORITY_ENDED])
        async with turn.transaction() as transaction:
            state = await projects.lock(transaction, turn.run.project_id)
            run = await turn.now(transaction)
            if not run.stopping:
                await self._turns.stop(transaction, run, StopReason.AUTHORITY_ENDED, state)
            else:
                await runs.save(transaction, replace(run, stop_reason=StopReason.AUTHORITY_ENDED))
            await steps.end(transaction, run.id, turn.step, StepState.STOPPED)

    async def _ask(self, turn: Turn, wanted: Asking) -> None:
        """Nobody works on it meanwhile, and its time counts no more than that for waiting."""
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            if run.stopping:
                await turn.job.again(transaction, 0.0)
                return
            now, lived = await projects.moments(transaction)
            waits = run.waiting(wanted.what, lived + turn.task.spec.wait_timeout, lived)
            await runs.save(transaction, waits)
            task = await tasks.lock(transaction, run.project_id, run.task_id)
            await self._turns.follow(transaction, waits, now, task)
            tell_of_run(transaction, waits)
            await turn.job.again(transaction, WAITS, {})

    async def _wait(self, turn: Turn, wanted: Waiting) -> bool:
        """False where there is news already; it cannot come between the look and the wait."""
        async with turn.transaction() as transaction:
            news = await runs.heard(transaction.connection, turn.run.id, wanted.about)
            run = await turn.now(transaction)
            if run.stopping is not turn.run.stopping:
                return False
            if news is not None and int(news["version"]) > wanted.heard:
                return False
            payload = turn.job.payload
            if turn.may_look:
                looks = int(payload.get("looks", 0))
                pause = LOOKS[min(looks, len(LOOKS) - 1)]
                payload = {"looks": looks + 1, "look": time.time() + pause}
            after = max(0.05, float(payload["look"]) - time.time())
            await turn.job.again(transaction, after, payload)
            return True

    async def _broken(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """By faults on our own side, after the last try."""
        project, identifier = _place_of(job)
        state = await projects.lock(transaction, project)
        run = await runs.lock(transaction, project, identifier)
        if run is not None and not run.ended:
            reason = RunError(code=error.code, detail=error.detail[:SHOWN], retryable=True)
            if run.step is not None:
                await steps.end(transaction, run.id, run.step, StepState.FAILED, error=reason)
            await self._turns.end(transaction, run.failed(reason), state, keep_sandbox=True)


def _place_of(job: Job) -> tuple[uuid.UUID, uuid.UUID]:
    if job.project is None:
        raise SignalboxError("a run is in a project")
    return job.project, uuid.UUID(job.key)
