"""Checkouts: asked for, looked at, and held as long as somebody needs them."""

import uuid
from dataclasses import replace

from signalbox_common.bus import Call, FactCall
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.sandbox import SandboxChanged, SandboxStatus
from signalbox_common.contracts.tasks import RunEnded, RunStopRequested
from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.domain import Checkout
from signalbox_git.replies import checkout_reply, tell_of_checkout
from signalbox_git.service.intents import admitted
from signalbox_git.store import checkouts, runs

PREPARE = "prepare"
"""The work of preparing one checkout; its key is the id."""
_ENDED = frozenset({SandboxStatus.DESTROYED, SandboxStatus.FAILED, SandboxStatus.LOST})


class Checkouts:
    def __init__(self, database: Database, worker: Worker, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._space = space

    async def prepare(self, call: Call, command: contract.Prepare) -> contract.Checkout:
        """Answered at the intent."""
        project, transaction = call.principal.project(), call.transaction
        now = await admitted(call, self._space, command.repository, command.run)
        found = Checkout(
            id=uuid7(),
            project_id=project,
            repository_id=command.repository,
            run=command.run,
            wanted=command.model_dump(mode="json", exclude={"run", "repository"}),
            created_by=call.principal.user_id,
            created_at=now,
        )
        await checkouts.add(transaction, found)
        tell_of_checkout(transaction, found)
        await self._worker.put(transaction, PREPARE, str(found.id), project=project)
        return checkout_reply(found)

    async def get(self, call: Call, query: contract.GetCheckout) -> contract.Checkout:
        project = call.principal.project()
        async with self._database.reading() as connection:
            if query.checkout is not None:
                found = await checkouts.get(connection, project, query.checkout)
            elif query.run is not None:
                found = await checkouts.of_run(connection, project, query.run)
            else:
                found = None
        if found is None:
            raise errors.CheckoutNotFound
        return checkout_reply(found)

    # -- what others tell --------------------------------------------------------------------------------

    async def sandbox_changed(self, call: FactCall, event: SandboxChanged) -> None:
        """It has the tree below its own files, from its beginning to its end."""
        if event.checkout is not None:
            await checkouts.claim(
                call.transaction,
                _project_of(call),
                event.checkout,
                sandbox=event.sandbox,
                version=event.version,
                ended=event.state in _ENDED,
            )

    async def run_stops(self, call: FactCall, event: RunStopRequested) -> None:
        project = _project_of(call)
        known = await runs.lock(call.transaction, project, event.run)
        await runs.save(call.transaction, project, event.run, replace(known, stopping=True))

    async def run_ended(self, call: FactCall, event: RunEnded) -> None:
        project = _project_of(call)
        known = await runs.lock(call.transaction, project, event.run)
        await runs.save(call.transaction, project, event.run, replace(known, ended=True))


def _project_of(call: FactCall) -> uuid.UUID:
    if call.project is None:
        raise SignalboxError("a run and a sandbox are in a project")
    return call.project
