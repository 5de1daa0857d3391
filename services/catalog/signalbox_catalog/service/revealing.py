"""Keys of resources, handed to whoever runs them."""

from signalbox_catalog.domain.resources import Key, Place
from signalbox_catalog.errors import KeyNotFound
from signalbox_catalog.service.access import Access, AccessResolver
from signalbox_catalog.service.finding import kind_called, not_found
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.store import resources
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.outcomes import Outcome


class Revealing:
    """Each request is for some keys of one resource, and leaves its line in the audit log."""

    def __init__(self, database: Database, vault: Vault, access: AccessResolver) -> None:
        self._database = database
        self._vault = vault
        self._access = access

    async def reveal(self, call: Call, ask: contract.RevealKeys) -> Outcome[contract.RevealedKeys]:
        kind = kind_called(ask.plural)
        access = (await self._access.resolve(call, [ask.namespace], reading=True)).get(ask.namespace)
        if access is None or not self._may(access):
            # As if there were no such namespace.
            raise not_found(kind, ask.name, Place(call.principal.project(), ask.namespace))
        async with self._database.reading() as connection:
            found = await resources.get(connection, Key(access.place.project_id, kind.name, ask.name))
        if found is None or found.uid != ask.uid:
            raise not_found(kind, ask.name, access.place)
        for pointer in ask.pointers:
            if pointer not in found.secrets:
                raise KeyNotFound(pointer)
        values = await self._vault.reveal({pointer: found.secrets[pointer] for pointer in ask.pointers})

        async def work(_transaction: Transaction) -> contract.RevealedKeys:
            return contract.RevealedKeys(values=values)

        return await call.within(access.place.project_id).once(work)

    @staticmethod
    def _may(access: Access) -> bool:
        """Reading a resource of another project takes less than getting its keys."""
        return access.role.includes(contract.RevealKeys.least_role)
