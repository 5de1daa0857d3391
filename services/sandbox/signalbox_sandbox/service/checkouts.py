"""What becomes of sandboxes that wait for their checkout, as the service git says of it."""

from dataclasses import replace

from signalbox_common.bus import FactCall
from signalbox_common.contracts.git import CheckoutChanged, CheckoutState
from signalbox_common.errors import SignalboxError
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.store import checkouts, sandboxes


class CheckoutNews:
    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def changed(self, call: FactCall, event: CheckoutChanged) -> None:
        """They learn what they begin with, and look at it at once; where it has failed, none ever begins."""
        if call.project is None:
            raise SignalboxError("a checkout is in a project")
        if event.state is CheckoutState.PREPARING:
            return
        if event.state is CheckoutState.FAILED:
            await checkouts.note_failed(call.transaction, event.checkout)
        for seen in await sandboxes.having(call.transaction.connection, call.project, event.checkout):
            sandbox = await self._sandboxes.lock(call.transaction, seen)
            if sandbox is not None and not sandbox.ended:
                found = {**(sandbox.workspace or {}), "commit": event.commit, "branch": event.branch}
                await sandboxes.save(call.transaction, replace(sandbox, workspace=found))
