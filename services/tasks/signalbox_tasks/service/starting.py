"""Tasks that nobody asks for themselves: started by a schedule or a trigger, for whoever that acts for."""

import uuid
from datetime import datetime

from signalbox_common.contracts.tasks import NewTask
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.schedules import Schedule
from signalbox_tasks.service.attachments import held
from signalbox_tasks.service.tasks import checked, new_task
from signalbox_tasks.service.turns import Turns, first_run
from signalbox_tasks.store import tasks
from signalbox_tasks.store.projects import ProjectState
from signalbox_tasks.triggers import Trigger


async def started(
    transaction: Transaction,
    new: NewTask,
    holder: Schedule | Trigger,
    now: datetime,
    *,
    schedule: uuid.UUID | None = None,
    trigger: uuid.UUID | None = None,
) -> tuple[Task, Run]:
    """As its person may do it; raises what stands against it."""
    project = holder.project_id
    task = new_task(
        new,
        id_=uuid7(),
        project=project,
        spec=await checked(transaction, project, new.spec),
        attachments=await held(transaction, project, new.spec.attachments),
        run=uuid7(),
        by=holder.acts_for,
        now=now,
        schedule=schedule,
        trigger=trigger,
    )
    run = first_run(task, by=holder.acts_for, name=holder.acts_for_name)
    return task, run.acting_under(holder.authority, holder.proof_at, holder.id)


async def add_alone(
    transaction: Transaction, turns: Turns, state: ProjectState, task: Task, run: Run
) -> None:
    """As if it had not been tried, where something stands against it."""
    facts, counts = len(transaction.facts), (state.active, state.queued)
    try:
        async with transaction.connection.begin_nested():
            await tasks.add(transaction, [task])
            await turns.add(transaction, [(task, run)], state)
    except SignalboxError:
        del transaction.facts[facts:]
        state.active, state.queued = counts
        raise
