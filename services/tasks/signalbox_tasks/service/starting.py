"""Tasks that nobody asks for themselves: started by a schedule or a trigger, for whoever that acts for."""

import uuid
from datetime import datetime

from signalbox_common.contracts.tasks import NewTask
from signalbox_common.db import Transaction
from signalbox_common.keys import uuid7
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.schedules import Schedule
from signalbox_tasks.service.attachments import held
from signalbox_tasks.service.tasks import checked, new_task
from signalbox_tasks.service.turns import first_run
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
