"""What must be so before anything is written down that goes on after its answer."""

import uuid
from datetime import datetime

from signalbox_common.bus import Call
from signalbox_common.space import DiskSpace
from signalbox_git import errors
from signalbox_git.store import projects, repositories, runs


async def admitted(call: Call, space: DiskSpace, repository: uuid.UUID, run: uuid.UUID | None) -> datetime:
    """The moment, by the clock of the database; what comes for a run is part of that from then on."""
    project, transaction = call.principal.project(), call.transaction
    now, is_deleted = await projects.moment(transaction, project)
    if is_deleted:
        raise errors.ProjectGone
    if await repositories.get(transaction.connection, project, repository) is None:
        raise errors.RepositoryNotFound
    space.require()
    if run is None:
        return now
    if call.principal.act != "tasks":
        raise errors.RunReserved
    known = await runs.lock(transaction, project, run)
    if known.stopping or known.ended:
        raise errors.RunEnded
    transaction.operation = str(run)
    return now
