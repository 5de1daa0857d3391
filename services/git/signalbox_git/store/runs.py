"""What is known of runs."""

import uuid
from dataclasses import asdict, dataclass

from sqlalchemy import text

from signalbox_common.db import Transaction

_NOTE = text(
    "insert into git.runs (project_id, run, noted_at) values (:project, :run, git.clock()) "
    "on conflict do nothing"
)
_LOCK = text("select stopping, ended from git.runs where project_id = :project and run = :run for update")
_SAVE = text(
    "update git.runs set stopping = :stopping, ended = :ended where project_id = :project and run = :run"
)
_FORGET = text("delete from git.runs where noted_at < git.clock() - :days * interval '1 day'")


@dataclass(frozen=True)
class Run:
    """What is known of a run: facts of it and requests for it come in any order."""

    stopping: bool
    ended: bool


async def lock(transaction: Transaction, project: uuid.UUID, run: uuid.UUID) -> Run:
    values = {"project": project, "run": run}
    await transaction.connection.execute(_NOTE, values)
    row = (await transaction.connection.execute(_LOCK, values)).one()
    return Run(row.stopping, row.ended)


async def save(transaction: Transaction, project: uuid.UUID, run: uuid.UUID, known: Run) -> None:
    values = {"project": project, "run": run, **asdict(known)}
    await transaction.connection.execute(_SAVE, values)


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
