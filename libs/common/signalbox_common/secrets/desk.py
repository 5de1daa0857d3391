"""The secret store of one service, as its operator handles it."""

from signalbox_common.bus import Call, ServiceBus
from signalbox_common.contracts import rotation as contract
from signalbox_common.db import Transaction
from signalbox_common.outcomes import Outcome
from signalbox_common.secrets.base import SecretStore


class SecretsDesk:
    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def register(self, bus: ServiceBus) -> None:
        bus.on_ask(contract.RotateSecrets, own_transaction=True)(self.rotate)

    async def rotate(self, call: Call, _ask: contract.RotateSecrets) -> Outcome[contract.RotationReport]:
        """May stop anywhere: what was not wrapped again yet can still be read, and is wrapped next time."""
        rotated = await self._store.rotate()

        async def work(_transaction: Transaction) -> contract.RotationReport:
            return contract.RotationReport(key_id=rotated.key_id, rewrapped=rotated.rewrapped)

        return await call.once(work)
