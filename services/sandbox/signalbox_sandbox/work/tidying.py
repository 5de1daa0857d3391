"""What is forgotten, or ended because nobody came back for it."""

import time
import uuid

from signalbox_common.db import Database, Transaction
from signalbox_common.keys import made_at
from signalbox_common.secrets import SecretStore
from signalbox_sandbox.domain import ENDED, Wish
from signalbox_sandbox.layers import Layers
from signalbox_sandbox.replies import SECRETS
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.store import checkouts, runs, sandboxes, templates

_ABOUT_TO_BE_MADE = 3600.0
_RUNS_REMEMBERED = 45
"""Days, as requests are: what comes late for a run that has ended finds that out."""


class Tidying:
    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        sandboxes: Sandboxes,
        layers: Layers,
        *,
        kept_days: int,
        paused_kept_days: int,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._sandboxes = sandboxes
        self._layers = layers
        self._kept_days = kept_days
        self._paused_kept_days = paused_kept_days

    async def tidy(self, transaction: Transaction) -> None:
        await sandboxes.forget(transaction, self._kept_days)
        await runs.forget(transaction, _RUNS_REMEMBERED)
        await checkouts.forget(transaction, _RUNS_REMEMBERED)
        await templates.remove_of_deleted(transaction, self._kept_days)
        for seen in await sandboxes.paused_long(transaction.connection, self._paused_kept_days):
            sandbox = await self._sandboxes.lock(transaction, seen)
            if sandbox is not None and sandbox.wish is Wish.PAUSED:
                await sandboxes.save(transaction, sandbox.asked(Wish.DESTROYED))
        await self._forget_environments()
        await self._forget_layers()

    async def _forget_layers(self) -> None:
        """Of templates that were removed, or whose making was cut off, when nothing is made of them."""
        await self._layers.sweep(_ABOUT_TO_BE_MADE)
        found = set(self._layers.all())
        async with self._database.reading() as connection:
            found -= await templates.layers_in_use(connection)
        for layer in found:
            if time.time() - made_at(layer) > _ABOUT_TO_BE_MADE and await self._layers.remove(layer):
                async with self._database.reading() as connection:
                    await templates.forget_layer(connection, layer)

    async def _forget_environments(self) -> None:
        """Of those that have ended, or were never made; what is newer may still be about to be."""
        names = {uuid.UUID(name.removeprefix(SECRETS)): name for name in await self._secrets.names(SECRETS)}
        async with self._database.reading() as connection:
            living = {
                each.id for each in await sandboxes.these(connection, names) if each.status not in ENDED
            }
        for identifier in names.keys() - living:
            if time.time() - made_at(identifier) > _ABOUT_TO_BE_MADE:
                await self._secrets.delete(names[identifier])
