"""Brings mirrors up to date, and writes down what the remote says of it."""

import uuid
from collections.abc import Callable

from signalbox_common import telemetry
from signalbox_common.contracts.git import RepositoryStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.storage import ProjectStorage
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.command import GitFailed, TookTooLong
from signalbox_git.domain import Repository
from signalbox_git.mirrors.mirrors import Fetched, Hear, Mirrors
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.replies import repository_reply, tell_of_repository
from signalbox_git.service.repositories import FETCH
from signalbox_git.service.sources import Sources
from signalbox_git.store import projects, repositories

log = telemetry.get_logger()
PAUSES = (2.0, 10.0, 60.0)
"""Seconds before a remote that is away is tried again."""
MOST, MOST_IN_PROJECT = 48, 4
"""Fetches at a time, of all instances together."""


class Fetcher:
    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        sources: Sources,
        storage: ProjectStorage,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._sources = sources
        self._storage = storage
        self._clock = clock

    def register(self, worker: Worker) -> None:
        take = worker.on(
            FETCH, most=MOST, most_in_project=MOST_IN_PROJECT, retry=Retry(PAUSES), failed=self._failed
        )
        take(self.fetch)

    async def fetch(self, job: Job) -> None:
        asked_at = self._clock()
        found = await self._find(job)
        if found is None:  # it was deleted meanwhile
            if job.command_id is not None:
                async with job.transaction() as transaction:
                    await job.done(transaction, errors.RepositoryNotFound())
            return
        await job.keep()
        try:
            fetched = await self.fetched(found, asked_at)
        except RemoteRefused as refusal:
            if refusal.passes and job.attempts <= len(PAUSES):
                raise errors.RemoteAway(refusal.detail) from refusal
            async with job.transaction() as transaction:
                if await self.refused(transaction, found, refusal.reason, refusal.detail):
                    await job.done(transaction, errors.FetchFailed(refusal.detail))
                else:
                    await job.again(transaction, 0.0)
            return
        async with job.transaction() as transaction:
            known = await self.record(transaction, found, fetched)
            if is_reached_as(known, found):
                await job.done(transaction, repository_reply(known))
            else:
                await job.again(transaction, 0.0)
        await self._mirrors.make_room()

    async def fetched(self, found: Repository, asked_at: float, hear: Hear | None = None) -> Fetched:
        """Raises RemoteRefused, for faults of our own as well: the next one who asks tries it again."""
        try:
            return await self._mirrors.fetch(await self._sources.of(found), asked_at, hear)
        except (GitFailed, TookTooLong, OSError) as error:
            log.warning("a repository cannot be fetched", repository=str(found.id), reason=repr(error)[:300])
            raise RemoteRefused("failed", "It could not be fetched.", passes=True) from error

    async def _find(self, job: Job) -> Repository | None:
        if job.project is None:
            return None
        async with self._database.reading() as connection:
            if await projects.is_deleted(connection, job.project):
                return None
            return await repositories.get(connection, job.project, _repository_of(job))

    async def record(self, transaction: Transaction, found: Repository, fetched: Fetched) -> Repository:
        """What was learned of it, as it is then; nothing where its address is another one by now."""
        locked = await repositories.lock(transaction, found.project_id, found.id)
        if locked is None or locked.url != found.url:
            return locked or found
        if not fetched.is_new and locked.status is RepositoryStatus.READY:
            return locked
        now, _ = await projects.moment(transaction, found.project_id)
        changed = locked.fetched(now, fetched.head, fetched.size, fetched.host_keys)
        await repositories.save(transaction, changed)
        size = await repositories.size(transaction.connection, found.project_id)
        await self._storage.measure(transaction, found.project_id, size)
        if (changed.status, changed.head) != (locked.status, locked.head):
            tell_of_repository(transaction, changed)
        return changed

    @staticmethod
    async def refused(transaction: Transaction, found: Repository, reason: str, detail: str) -> bool:
        """False where it is reached otherwise by now: that has not been tried."""
        locked = await repositories.lock(transaction, found.project_id, found.id)
        if locked is not None and not is_reached_as(locked, found):
            return False
        if locked is not None:
            changed = locked.refused(reason, detail)
            await repositories.save(transaction, changed)
            if changed != locked:
                tell_of_repository(transaction, changed)
        return True

    async def _failed(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """Of faults on our own side, after the last try."""
        found = await self._find(job)
        if found is not None:
            await self.refused(transaction, found, "failed", error.detail)


def is_reached_as(one: Repository, other: Repository) -> bool:
    return (one.url, one.credential) == (other.url, other.credential)


def _repository_of(job: Job) -> uuid.UUID:
    return uuid.UUID(job.key.partition("/")[0])
