"""What the catalog forgets, once an hour."""

import uuid
from datetime import UTC, datetime, timedelta

from signalbox_catalog.service.vault import PREFIX
from signalbox_catalog.store import facts, namespaces, resources, revisions, usage
from signalbox_common import telemetry
from signalbox_common.bus.objects import Bucket
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Unavailable
from signalbox_common.secrets import SecretStore

log = telemetry.get_logger()

BATCH = 50
GRACE = timedelta(hours=1)
"""How long something may lie about before it is referred to."""


class Tidying:
    def __init__(
        self,
        database: Database,
        store: SecretStore,
        bucket: Bucket,
        *,
        deleted_kept: timedelta,
        history_kept: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._bucket = bucket
        self._deleted_kept = deleted_kept
        self._history_kept = history_kept

    async def tidy(self, transaction: Transaction) -> None:
        now = datetime.now(UTC)
        # First: what this very transaction lets go of is still needed if it fails.
        await self._clear_away(transaction, now - GRACE)
        await self._purge(transaction, now - self._deleted_kept)
        forgotten = await revisions.forget(transaction, now - self._history_kept)
        for project, floor in sorted(forgotten.items()):
            await namespaces.raise_floor(transaction, project, floor)

    async def _purge(self, transaction: Transaction, before: datetime) -> None:
        """What was deleted long ago is gone for good, its history included."""
        while old := await resources.to_purge(transaction, before, BATCH):
            gone = await resources.purge(transaction, [resource.uid for resource in old])
            facts.purged(transaction, [resource for resource in old if resource.uid in gone])
            log.info("deleted resources are gone for good", resources=len(gone))
            if len(gone) < len(old):
                break  # somebody is changing what refers to them: an hour later

    async def _clear_away(self, transaction: Transaction, before: datetime) -> None:
        """Keys and packages that nothing refers to, because a write failed or what they were of is gone."""
        bundles = await usage.bundles(transaction)
        for name in await self._store.names(PREFIX):
            if name not in bundles and _made_at(name) < before:
                await self._store.delete(name)
        objects = await usage.objects(transaction)
        try:
            for stored in await self._bucket.all():
                if stored.name not in objects and stored.stored_at < before:
                    await self._bucket.delete(stored.name)
        except Unavailable as error:
            log.warning("packages are cleared away an hour later", reason=error.detail)


def _made_at(bundle: str) -> datetime:
    """Bundles are called by time-ordered ids."""
    identifier = uuid.UUID(bundle.removeprefix(PREFIX))
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)
