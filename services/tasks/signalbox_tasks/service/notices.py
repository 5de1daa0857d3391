"""What others are to be told of tasks: written down in the transaction that makes it true."""

import uuid
from collections.abc import Sequence

from signalbox_common import telemetry
from signalbox_common.contracts.tasks import NotifiedStatus, TaskNotice, TaskStatus
from signalbox_common.db import Transaction
from signalbox_common.work import Worker
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.store import notifications

WAKE, SEND = "wake", "notify"
"""Whose sending is to be looked at, once for each time that there is something new; and the sending itself,
whose key is the notification. Whoever changes a run holds rows that a sender never waits for, and never waits
for the row of a sender: that is what the first kind is for."""
MOST_PENDING = 10_000
"""Of one project; what comes beyond that is kept, and not sent."""
FULL = "Too many deliveries of this project waited already."
_NOTIFIED = {TaskStatus(each): each for each in NotifiedStatus}


class Notices:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def tell(self, transaction: Transaction, task: Task, run: Run) -> None:
        """That the task is so now, to all who want to know; once for each state of each run."""
        status = _NOTIFIED.get(task.status)
        if run.id != task.run or status is None:
            return
        waiting, dead = await notifications.tell(
            transaction,
            task.project_id,
            kind=f"tasks.task.{status}",
            status=status,
            task=task.id,
            run=run.id,
            version=run.version,
            data=_told(task, run, status).model_dump_json(by_alias=True),
            most=MOST_PENDING,
            reason=FULL,
        )
        await wake(self._worker, transaction, task.project_id, waiting)
        if dead:
            telemetry.NOTICES.labels("dead").inc(dead)


async def wake(
    worker: Worker, transaction: Transaction, project: uuid.UUID, given: Sequence[uuid.UUID]
) -> None:
    """There is something to send for these."""
    if given:
        payload = {"notifications": [str(each) for each in given]}
        await worker.put(transaction, WAKE, uuid.uuid4().hex, project=project, payload=payload)


def _told(task: Task, run: Run, status: NotifiedStatus) -> TaskNotice:
    return TaskNotice(
        project_id=task.project_id,
        task_id=task.id,
        run_id=run.id,
        attempt=run.attempt,
        version=run.version,
        title=task.title,
        status=status,
        waiting_for=run.waiting_for,
        error=run.error,
        branch=task.branch or run.facts.get("branch"),
        commit=run.facts.get("pushed"),
        pull_request_url=task.pull_request_url,
        agent_id=task.spec.agent,
        schedule_id=task.schedule,
        trigger_id=task.trigger,
    )
