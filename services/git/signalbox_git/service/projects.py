"""What becomes of the repositories of a project that is deleted: nothing goes on, and the records stay."""

from signalbox_common.bus import FactCall
from signalbox_common.contracts.auth import ProjectDeleted, ProjectRestored
from signalbox_git.store import projects


class Projects:
    async def gone(self, call: FactCall, event: ProjectDeleted) -> None:
        await projects.set_deleted(call.transaction, event.id, deleted=True)

    async def back(self, call: FactCall, event: ProjectRestored) -> None:
        await projects.set_deleted(call.transaction, event.id, deleted=False)
