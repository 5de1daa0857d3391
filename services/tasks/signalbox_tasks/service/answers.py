"""What people say to runs that wait for them."""

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import RunState, StopReason
from signalbox_common.work import Worker
from signalbox_tasks import errors
from signalbox_tasks.replies import run_reply, tell_of_run
from signalbox_tasks.service.turns import RUN, Turns
from signalbox_tasks.store import projects, runs, tasks


class Answers:
    def __init__(self, worker: Worker, turns: Turns) -> None:
        self._worker = worker
        self._turns = turns

    async def answer(self, call: Call, command: contract.AnswerRun) -> contract.Run:
        """Refused, it ends as if it had been cancelled: what it has changed until then is kept."""
        project, transaction = call.principal.project(), call.transaction
        row = await self._worker.table.called(transaction, RUN, str(command.run))
        state = await projects.lock(transaction, project)
        run = await runs.lock(transaction, project, command.run)
        if run is None:
            raise errors.RunNotFound
        if run.state is not RunState.WAITING or row is None:
            raise errors.NotWaiting
        if not command.approve:
            return run_reply(await self._turns.stop(transaction, run, StopReason.CANCELLED, state))
        answers = {**run.facts.get("answers", {}), str(run.place): command.message}
        goes_on = run.answered(state.lived, answers=answers)
        await runs.save(transaction, goes_on)
        task = await tasks.lock(transaction, project, run.task_id)
        await self._turns.follow(transaction, goes_on, state.moment, task)
        tell_of_run(transaction, goes_on)
        await self._worker.table.hurry(transaction, RUN, str(run.id))
        self._worker.wake_after(transaction)
        return run_reply(goes_on)
