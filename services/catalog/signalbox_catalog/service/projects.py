"""What happens to projects elsewhere, as far as it matters for their resources."""

from signalbox_catalog.domain.resources import Place
from signalbox_catalog.store import namespaces
from signalbox_common.bus import FactCall
from signalbox_common.contracts.auth import ProjectDeleted, ProjectRestored


class Projects:
    async def gone(self, call: FactCall, event: ProjectDeleted) -> None:
        """What it refers to is not kept by that, whether it is there or not."""
        await namespaces.set_gone(call.transaction, Place(event.id, event.slug), gone=True)

    async def back(self, call: FactCall, event: ProjectRestored) -> None:
        await namespaces.set_gone(call.transaction, Place(event.id, event.slug), gone=False)
