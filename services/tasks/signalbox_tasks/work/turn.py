"""One step of one run in the hands of a worker, and what can come of it."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from signalbox_common.bus import StoredCommand
from signalbox_common.contracts.base import Command
from signalbox_common.contracts.tasks import ExecShell, RunResult, StepName
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import StepIds
from signalbox_common.work import Job
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.store import runs, steps
from signalbox_tasks.work.peers import Peers

LOOKS = (1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds without news after which it is asked how far something is; the last one counts from then on."""


class StepFailed(Exception):
    """The run comes to no good end; with a code and a sentence."""

    def __init__(self, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retryable = retryable


class Stopped(Exception):
    """The run is stopped, and this step with it."""


@dataclass(frozen=True)
class Done:
    detail: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of the run from now on."""
    result: RunResult | None = None
    plan: tuple[StepName, ...] | None = None
    """Where there is less to do than was thought."""


@dataclass(frozen=True)
class Asking:
    """For a person to say whether it goes on."""

    what: str


@dataclass(frozen=True)
class Waiting:
    """For news of something; what was heard so far is not what is waited for."""

    about: str
    heard: int
    """The version of that; 0 for nothing."""


Outcome = Done | Waiting | Asking


@dataclass
class Turn:
    job: Job
    run: Run
    task: Task
    step: StepName
    request: Mapping[str, Any] | None
    """What was asked of another service for this step."""
    peers: Peers
    database: Database
    ids: StepIds

    @property
    def shell(self) -> ExecShell | None:
        """What is run; a run may want something else than its task."""
        return self.run.wish.exec or self.task.spec.exec

    def id_of(self, *parts: str) -> uuid.UUID:
        """The same for the same part of this step, whoever does it."""
        return self.ids.for_step(str(self.run.id), self.step, *parts)

    async def heard(self, about: str) -> dict[str, Any] | None:
        async with self.database.reading() as connection:
            return await runs.heard(connection, self.run.id, about)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Only as long as the run is ours."""
        async with self.job.transaction() as transaction:
            yield transaction

    async def now(self, transaction: Transaction) -> Run:
        """The run as it is, since somebody may have stopped it meanwhile."""
        found = await runs.lock(transaction, self.run.project_id, self.run.id)
        if found is None:
            raise SignalboxError("a run that is under way is gone")
        return found

    async def save(self, transaction: Transaction, run: Run) -> None:
        await runs.save(transaction, run)
        self.run = run

    # -- what is asked of others -------------------------------------------------------------------------

    async def tell(self, wanted: Command[Any], *parts: str) -> None:
        """A command of which the facts tell what came; sent again, it takes effect once."""
        command = StoredCommand.of(wanted, self.id_of(*parts))
        await self.job.keep()
        await self.peers.submit(command)

    @property
    def may_look(self) -> bool:
        """Whether there was no news for so long that it is asked for."""
        return time.time() >= float(self.job.payload.get("look", 0.0))

    async def command(self, wanted: Command[Any]) -> StoredCommand:
        """Stored before it is sent for the first time; sent then. Done again, it is the same."""
        if self.request is not None:
            return StoredCommand(
                self.request["subject"],
                self.request["body"].encode(),
                uuid.UUID(self.request["commandId"]),
            )
        command = StoredCommand.of(wanted, self.id_of("command"))
        self.request = {
            "subject": command.subject,
            "body": command.body.decode(),
            "commandId": str(command.command_id),
        }
        async with self.transaction() as transaction:
            await steps.keep_request(transaction, self.run.id, self.step, dict(self.request))
        await self.job.keep()
        await self.peers.submit(command)
        return command


class RunStepWork(Protocol):
    """What a step does; raises StepFailed, Stopped and AuthorityEnded."""

    async def do(self, turn: Turn) -> Outcome: ...
