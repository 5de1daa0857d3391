"""What becomes of the sandboxes of a run, as the service tasks says of it."""

import uuid
from dataclasses import replace

from signalbox_common.bus import FactCall
from signalbox_common.contracts.tasks import RunEnded, RunStopRequested
from signalbox_common.errors import SignalboxError
from signalbox_sandbox.domain import Wish
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.store import runs, sandboxes


class Runs:
    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def stops(self, call: FactCall, event: RunStopRequested) -> None:
        """Its programs end wherever it has some, whoever is at work on it."""
        project = _project_of(call)
        run = await runs.lock(call.transaction, project, event.run)
        if run.stopping or run.ended:
            return
        await runs.save(call.transaction, project, event.run, replace(run, stopping=True))
        for seen in await sandboxes.of_run(call.transaction.connection, project, event.run):
            sandbox = await self._sandboxes.lock(call.transaction, seen)
            if sandbox is not None and not sandbox.ended:
                await sandboxes.save(call.transaction, sandbox.stopped(event.grace))

    async def ended(self, call: FactCall, event: RunEnded) -> None:
        project = _project_of(call)
        run = await runs.lock(call.transaction, project, event.run)
        if run.ended:
            return
        await runs.save(call.transaction, project, event.run, replace(run, ended=True))
        for seen in await sandboxes.of_run(call.transaction.connection, project, event.run):
            sandbox = await self._sandboxes.lock(call.transaction, seen)
            if sandbox is not None and not sandbox.ended and sandbox.wish is not Wish.DESTROYED:
                after = sandbox.after_its_run(keeps=event.keep_sandbox)
                await sandboxes.save(call.transaction, after)


def _project_of(call: FactCall) -> uuid.UUID:
    if call.project is None:
        raise SignalboxError("a run is in a project")
    return call.project
