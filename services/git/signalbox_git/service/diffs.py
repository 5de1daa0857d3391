"""What a delivery changes, or would change, for people to look at."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signalbox_common.changesets import ChangesRefused
from signalbox_common.db import Database
from signalbox_git import errors
from signalbox_git.changes import ChangeFiles
from signalbox_git.command import GitDirectory, TookTooLong
from signalbox_git.commits import changes as reading
from signalbox_git.commits import series, unified
from signalbox_git.commits.quarantine import Quarantine
from signalbox_git.domain import Delivery, Repository
from signalbox_git.mirrors.mirror import Mirror, MirrorBroken
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.mirrors.partial import files_between, files_of
from signalbox_git.service.deliveries import bad_changes
from signalbox_git.service.missing_files import MissingFiles
from signalbox_git.store import changes, deliveries, repositories

MOST = 2
"""At a time in each instance: each may be as much as a delivery."""


class Diffs:
    def __init__(
        self, database: Database, mirrors: Mirrors, missing: MissingFiles, files: ChangeFiles
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._missing = missing
        self._files = files
        self._turns = asyncio.Semaphore(MOST)

    async def of_changes(self, project: uuid.UUID, sha256: str, repository: uuid.UUID, base: str) -> bytes:
        """Cut where it is long; raises what a person is to know."""
        async with self._database.reading() as connection:
            stored = await changes.find(connection, project, sha256)
        if stored is None:
            raise errors.ChangesNotFound
        async with self._opened(project, repository) as (known, mirror):
            if not await mirror.has(base):
                raise errors.RevisionNotFound
            await self._missing.bring(known, mirror, files_of(base))
            return await self._made(mirror, project, sha256, base, bundled=stored.bundled)

    async def of_delivery(self, project: uuid.UUID, delivery: uuid.UUID) -> bytes:
        """As its commit has it, where that was made."""
        async with self._database.reading() as connection:
            found = await deliveries.get(connection, project, delivery)
        if found is None:
            raise errors.DeliveryNotFound
        async with self._opened(project, found.repository_id) as (known, mirror):
            if found.commit is not None and await mirror.has(found.commit):
                await self._missing.bring(known, mirror, files_between(_begin(found), found.commit))
                async with self._turns:
                    return await _shown(mirror.git, _begin(found), found.commit)
        return await self.of_changes(project, found.changes, found.repository_id, found.base)

    async def _made(
        self, mirror: Mirror, project: uuid.UUID, sha256: str, base: str, *, bundled: bool
    ) -> bytes:
        """In a quarantine, of which nothing stays."""
        path = self._files.path(project, sha256)
        mirror.making.mkdir(exist_ok=True)
        async with self._turns, Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
            try:
                if bundled:
                    head = (await series.take(quarantine.git, path, base)).tip
                else:
                    with path.open("rb") as file:
                        found = await asyncio.to_thread(reading.read, file)
                        head = await quarantine.tree(base, found)
            except ChangesRefused as error:
                raise bad_changes(error) from error
            except FileNotFoundError as error:
                raise errors.ChangesNotFound from error
            return await _shown(quarantine.git, base, head)

    @asynccontextmanager
    async def _opened(
        self, project: uuid.UUID, repository: uuid.UUID
    ) -> AsyncIterator[tuple[Repository, Mirror]]:
        async with self._database.reading() as connection:
            found = await repositories.get(connection, project, repository)
        if found is None:
            raise errors.RepositoryNotFound
        try:
            async with self._mirrors.held(Source(found.project_id, found.id, found.url)) as mirror:
                if not mirror.is_there:
                    raise errors.NotFetchedYet
                yield found, mirror
        except MirrorBroken as error:
            raise errors.NotFetchedYet from error


def _begin(found: Delivery) -> str:
    """Where it went on top of what others have pushed, that is not shown."""
    if found.rebased and not found.bundled:
        return f"{found.commit}^"
    return found.expected or found.base if found.rebased else found.base


async def _shown(git: GitDirectory, base: str, head: str) -> bytes:
    try:
        return await unified.diff(git, base, head)
    except TookTooLong as error:
        raise errors.TooMuch from error
