"""Quotas of projects, as administrators set them."""

from signalbox_common.bus import FactCall
from signalbox_common.contracts.auth import QuotasChanged
from signalbox_common.quotas import ProjectQuotas
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import projects


class RunQuotas:
    def __init__(self, quotas: ProjectQuotas, turns: Turns) -> None:
        self._quotas = quotas
        self._turns = turns

    async def changed(self, call: FactCall, event: QuotasChanged) -> None:
        """Those begin at once for which there is room now; what is above a new bound goes on."""
        await projects.lock(call.transaction, event.project)
        await self._quotas.changed(call, event)
        await self._turns.admit(call.transaction, await projects.lock(call.transaction, event.project))
