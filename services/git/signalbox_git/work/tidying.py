"""What is forgotten, and what nobody uses any more."""

import asyncio
import time
import uuid
from functools import partial
from pathlib import Path

from signalbox_common.db import Database, Transaction
from signalbox_common.keys import made_at
from signalbox_common.secrets import SecretStore
from signalbox_git.changes import ChangeFiles
from signalbox_git.mirrors.mirror import mirrors_below, remove_leftovers
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.remotes.access import remove_scratch
from signalbox_git.replies import SECRETS
from signalbox_git.store import (
    changes,
    checkouts,
    deliveries,
    operations,
    projects,
    pull_requests,
    repositories,
    runs,
)

_ABOUT_TO_BE_MADE = 3600.0
_DAY = 86_400.0
_CHANGES_KEPT = 24.0
"""Hours that a change set stays which nobody has delivered."""
_RUNS_REMEMBERED = 45
"""Days, as requests are: what comes late for a run that has ended finds that out."""


class Tidying:
    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        mirrors: Mirrors,
        root: Path,
        files: ChangeFiles,
        *,
        kept_days: int,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._mirrors = mirrors
        self._root = root
        self._files = files
        self._kept_days = kept_days
        self._unused = kept_days * _DAY

    async def tidy(self, transaction: Transaction) -> None:
        await deliveries.forget(transaction, _RUNS_REMEMBERED)
        await operations.forget(transaction, _RUNS_REMEMBERED)
        for project, sha256 in await changes.remove_old(transaction, _CHANGES_KEPT):
            transaction.after_commit.append(partial(self._remove_changes, project, sha256))
        await checkouts.forget(transaction, self._kept_days)
        await runs.forget(transaction, _RUNS_REMEMBERED)
        await pull_requests.forget(transaction, self._kept_days)
        await projects.end(transaction, self._kept_days)
        await repositories.forget(transaction, self._kept_days)
        transaction.after_commit.append(self._tidy_disk)

    async def _tidy_disk(self) -> None:
        await asyncio.to_thread(remove_scratch)
        await asyncio.to_thread(self._files.remove_leftovers)
        await self._forget_credentials()
        await self._remove_mirrors()

    async def _remove_changes(self, project: uuid.UUID, sha256: str) -> None:
        """Unless it was stored again meanwhile."""
        async with self._database.transaction() as transaction:
            await changes.lock(transaction, project, sha256)
            if await changes.find(transaction.connection, project, sha256) is None:
                self._files.remove(project, sha256)

    async def _forget_credentials(self) -> None:
        """That no repository refers to; what is newer may be about to be."""
        names = {uuid.UUID(name.removeprefix(SECRETS)): name for name in await self._secrets.names(SECRETS)}
        async with self._database.reading() as connection:
            used = await repositories.credentials(connection)
        for credential in names.keys() - used:
            if time.time() - made_at(credential) > _ABOUT_TO_BE_MADE:
                await self._secrets.delete(names[credential])

    async def _remove_mirrors(self) -> None:
        """Of repositories that were deleted, or are elsewhere; and the oldest where room is needed."""
        await asyncio.to_thread(remove_leftovers, self._root, _ABOUT_TO_BE_MADE)
        found = await asyncio.to_thread(mirrors_below, self._root)
        async with self._database.reading() as connection:
            used = await repositories.addresses(connection, {mirror.repository for mirror in found})
            gone = await projects.ended(connection, self._kept_days)
        for mirror in found:
            url = used.get(mirror.repository)
            if mirror.is_of_module:  # nothing says whether one will be wanted again
                is_wanted = mirror.project not in gone and time.time() - mirror.used_at < self._unused
            else:
                is_wanted = url is not None and mirror.is_at(url)
            if not is_wanted:
                await mirror.remove()
        await self._mirrors.make_room()
