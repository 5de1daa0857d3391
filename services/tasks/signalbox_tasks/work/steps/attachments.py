"""Files that were given to the task, for the programs of its run."""

import uuid
from functools import partial

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.tasks import ATTACHMENTS
from signalbox_common.dataplane import DataClient
from signalbox_tasks.domain import Task
from signalbox_tasks.service.attachments import content_of
from signalbox_tasks.work.turn import Turn

VARIABLE = "SIGNALBOX_ATTACHMENTS"


def variables(task: Task) -> dict[str, str]:
    """Where programs look for them."""
    return {VARIABLE: ATTACHMENTS} if task.attachments else {}


async def lay_out(turn: Turn, client: DataClient, sandbox: uuid.UUID) -> None:
    """Before anything begins in this sandbox; where somebody dies over it, the next one does it again."""
    if not turn.task.attachments or "attached" in turn.run.facts:
        return
    for each in turn.task.attachments:
        await turn.job.keep()
        await client.write(
            contract.WRITE_FILE,
            partial(content_of, turn.database, each.id),
            sandbox=str(sandbox),
            path=f"{ATTACHMENTS}/{each.name}",
            mode="0444",
            parents="true",
        )
    async with turn.transaction() as transaction:
        run = await turn.now(transaction)
        await turn.save(transaction, run.knowing(attached=True))
