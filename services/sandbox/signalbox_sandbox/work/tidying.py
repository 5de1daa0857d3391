"""What is forgotten, or ended because nobody came back for it."""

import time
import uuid

from signalbox_common.db import Database, Transaction
from signalbox_common.keys import made_at
from signalbox_common.secrets import SecretStore
from signalbox_common.work import Worker
from signalbox_sandbox import store
from signalbox_sandbox.domain import ENDED, Wish
from signalbox_sandbox.replies import SECRETS
from signalbox_sandbox.service import KIND

_ABOUT_TO_BE_MADE = 3600.0


class Tidying:
    def __init__(
        self,
        database: Database,
        worker: Worker,
        secrets: SecretStore,
        *,
        kept_days: int,
        paused_kept_days: int,
    ) -> None:
        self._database = database
        self._worker = worker
        self._secrets = secrets
        self._kept_days = kept_days
        self._paused_kept_days = paused_kept_days

    async def tidy(self, transaction: Transaction) -> None:
        await store.forget(transaction, self._kept_days)
        for identifier in await store.paused_long(transaction.connection, self._paused_kept_days):
            seen = await store.find(transaction.connection, identifier)
            if seen is None:
                continue
            await self._worker.put(
                transaction, KIND, str(identifier), project=seen.project_id, target=seen.node, soonest=True
            )
            sandbox = await store.lock(transaction, identifier)
            if sandbox is not None and sandbox.wish is Wish.PAUSED:
                await store.save(transaction, sandbox.asked(Wish.DESTROYED))
        await self._forget_environments()

    async def _forget_environments(self) -> None:
        """Of those that have ended, or were never made; what is newer may still be about to be."""
        names = {uuid.UUID(name.removeprefix(SECRETS)): name for name in await self._secrets.names(SECRETS)}
        async with self._database.reading() as connection:
            living = {each.id for each in await store.these(connection, names) if each.status not in ENDED}
        for identifier in names.keys() - living:
            if time.time() - made_at(identifier) > _ABOUT_TO_BE_MADE:
                await self._secrets.delete(names[identifier])
