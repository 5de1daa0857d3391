"""What others tell of what they do for a run: kept, and its work looks at it."""

import uuid
from functools import partial

from signalbox_common.bus import FactCall
from signalbox_common.contracts.auth import ProjectDeleted, ProjectRestored
from signalbox_common.contracts.git import CheckoutChanged, DeliveryChanged
from signalbox_common.contracts.sandbox import SandboxChanged, SandboxStatus
from signalbox_common.contracts.tasks import StopReason
from signalbox_common.db import Database
from signalbox_common.work import Worker
from signalbox_tasks.service.notices import wake
from signalbox_tasks.service.turns import RUN, Turns
from signalbox_tasks.store import notifications, projects, runs

_BATCH = 100
_ENDED = frozenset({SandboxStatus.FAILED, SandboxStatus.LOST, SandboxStatus.DESTROYED})


CHECKOUT = "checkout"


def of_sandbox(name: str) -> str:
    return f"sandbox {name}"


def of_delivery(ordinal: int) -> str:
    return f"delivery {ordinal}"


class News:
    def __init__(self, database: Database, worker: Worker, turns: Turns) -> None:
        self._database = database
        self._worker = worker
        self._turns = turns

    async def checkout_changed(self, call: FactCall, event: CheckoutChanged) -> None:
        await self._hear(call, event.run, CHECKOUT, event.version, event.model_dump_json(by_alias=True))

    async def sandbox_changed(self, call: FactCall, event: SandboxChanged) -> None:
        if event.owner is not None:
            about = of_sandbox(event.owner.name)
            body = event.model_dump_json(by_alias=True)
            await self._hear(call, event.owner.run, about, event.version, body)
        if event.state in _ENDED and call.project is not None:
            call.transaction.after_commit.append(partial(self._look_for_room, call.project))

    async def _look_for_room(self, project: uuid.UUID) -> None:
        """Runs that there was no sandbox left for ask again; where this is lost, they do so by themselves."""
        async with self._database.reading() as connection:
            waiting = await runs.without_sandbox(connection, project)
        for run in waiting:
            async with self._database.transaction() as transaction:
                await self._worker.table.hurry(transaction, RUN, str(run))
                self._worker.wake_after(transaction)

    async def delivery_changed(self, call: FactCall, event: DeliveryChanged) -> None:
        about = of_delivery(event.ordinal)
        await self._hear(call, event.run, about, event.version, event.model_dump_json(by_alias=True))

    async def _hear(self, call: FactCall, run: uuid.UUID | None, about: str, version: int, body: str) -> None:
        """The row of work comes first, so that whoever is about to wait for it cannot miss it."""
        if run is None:
            return
        row = await self._worker.table.called(call.transaction, RUN, str(run))
        if row is None or row.project != call.project:
            return
        await runs.hear(call.transaction, run, about, version, body)
        await self._worker.table.hurry(call.transaction, RUN, str(run))
        self._worker.wake_after(call.transaction)

    # -- projects ----------------------------------------------------------------------------------------

    async def project_gone(self, call: FactCall, event: ProjectDeleted) -> None:
        """Nothing more begins there, and what goes on is stopped by and by."""
        await projects.set_deleted(call.transaction, event.id, deleted=True)
        call.transaction.after_commit.append(lambda: self.stop_all(event.id))

    async def project_back(self, call: FactCall, event: ProjectRestored) -> None:
        """What was to be sent then is sent now."""
        await projects.set_deleted(call.transaction, event.id, deleted=False)
        found = await notifications.of_project(call.transaction.connection, event.id)
        await wake(self._worker, call.transaction, event.id, found)

    async def stop_all(self, project: uuid.UUID) -> None:
        """Those that have not ended, each by itself."""
        while True:
            async with self._database.reading() as connection:
                found = await runs.active(connection, project, _BATCH)
            stopped = 0
            for run in found:
                stopped += await self.stop(project, run, StopReason.AUTHORITY_ENDED)
            if not stopped:
                return

    async def stop(self, project: uuid.UUID, run: uuid.UUID, reason: StopReason) -> bool:
        async with self._database.transaction() as transaction:
            await self._worker.table.called(transaction, RUN, str(run))
            state = await projects.lock(transaction, project)
            found = await runs.lock(transaction, project, run)
            if found is None or found.ended or found.stopping:
                return False
            await self._turns.stop(transaction, found, reason, state)
            return True
