"""What becomes of the sandboxes of a project that is deleted."""

from signalbox_common.bus import FactCall
from signalbox_common.contracts.auth import ProjectDeleted, ProjectRestored
from signalbox_sandbox.domain import Wish
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.store import projects, sandboxes


class Projects:
    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def gone(self, call: FactCall, event: ProjectDeleted) -> None:
        """Whatever runs there ends; the records stay."""
        await projects.set_deleted(call.transaction, event.id, deleted=True)
        for seen in await sandboxes.living(call.transaction.connection, event.id):
            sandbox = await self._sandboxes.lock(call.transaction, seen)
            if sandbox is not None and not sandbox.ended:
                await sandboxes.save(call.transaction, sandbox.asked(Wish.DESTROYED))

    async def back(self, call: FactCall, event: ProjectRestored) -> None:
        await projects.set_deleted(call.transaction, event.id, deleted=False)
