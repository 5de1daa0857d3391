"""Does operations: each is looked for first where it may have been done before, and written down after."""

from collections.abc import Callable
from functools import partial

from signalbox_common.bus import Bus
from signalbox_common.contracts.git import GitOperationType
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import NotCancellable, SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.commits.quarantine import Person
from signalbox_git.domain import Repository
from signalbox_git.mirrors import cleaning
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.operations.changes import write
from signalbox_git.operations.record import Operation
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.replies import repository_reply
from signalbox_git.service.operations import OPERATE
from signalbox_git.service.sources import Sources
from signalbox_git.store import operations, projects, repositories
from signalbox_git.work import operation_journal
from signalbox_git.work.fetcher import Fetcher, is_reached_as
from signalbox_git.work.housekeeper import NEEDED_DAYS
from signalbox_git.work.operation_journal import (
    CancelledMeanwhile,
    CannotOperate,
    OperationScene,
    place_of,
)
from signalbox_git.work.operation_progress import OperationProgress
from signalbox_git.work.ref_changer import RefChanger

PAUSES = (2.0, 10.0, 60.0)
"""Seconds before a remote that is away is tried again."""
MOST, MOST_IN_PROJECT = 16, 4


class Operator:
    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        sources: Sources,
        fetcher: Fetcher,
        bus: Bus,
        *,
        committer: Person,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._sources = sources
        self._fetcher = fetcher
        self._bus = bus
        self._changer = RefChanger(mirrors, committer=committer, clock=clock)
        self._clock = clock

    def register(self, worker: Worker) -> None:
        take = worker.on(
            OPERATE,
            most=MOST,
            most_in_project=MOST_IN_PROJECT,
            retry=Retry(PAUSES),
            failed=self._failed,
            cancelled=self._cancelled,
        )
        take(self.operate)

    async def operate(self, job: Job) -> None:
        project, identifier = place_of(job)
        async with self._database.reading() as connection:
            found = await operations.get(connection, project, identifier)
        if found is None or found.final:
            async with job.transaction() as transaction:
                await job.done(transaction, errors.RepositoryNotFound())
            return
        found = await operation_journal.begin(job, found)
        try:
            await self._perform(job, found)
        except CancelledMeanwhile:
            await operation_journal.cancel(job, found)
        except CannotOperate as reason:
            await self._end(job, found, reason)
        except RemoteRefused as refusal:
            if refusal.passes and job.attempts <= len(PAUSES):
                raise errors.RemoteAway(refusal.detail) from refusal
            await self._end(
                job, found, CannotOperate(refusal.reason, refusal.detail, retryable=refusal.passes)
            )

    async def _perform(self, job: Job, found: Operation) -> None:
        repository = await self._repository(found)
        source = await self._sources.of(repository)
        async with OperationProgress(self._bus, job, found) as progress:
            scene = OperationScene(job, repository, source, progress)
            await job.keep()
            match found.type:
                case GitOperationType.FETCH:
                    await self._fetch(scene, found)
                case GitOperationType.CLEANUP:
                    await self._clean_up(scene, found)
                case _:
                    await self._changer.change(scene, found)

    async def _repository(self, found: Operation) -> Repository:
        async with self._database.reading() as connection:
            repository = await repositories.get(connection, found.project_id, found.repository_id)
            is_deleted = await projects.is_deleted(connection, found.project_id)
        if repository is None or is_deleted:
            gone = errors.ProjectGone if is_deleted else errors.RepositoryNotFound
            raise CannotOperate(gone.code, gone.detail)
        return repository

    async def _fetch(self, scene: OperationScene, found: Operation) -> None:
        job, repository = scene.job, scene.repository
        hear = scene.progress.of("fetch")
        try:
            fetched = await self._fetcher.fetched(repository, self._clock(), hear)
        except RemoteRefused as refusal:
            if refusal.passes and job.attempts <= len(PAUSES):
                raise
            reason = CannotOperate(refusal.reason, refusal.detail, retryable=refusal.passes)
            async with job.transaction() as transaction:
                if await self._fetcher.refused(transaction, repository, refusal.reason, refusal.detail):
                    refused = errors.FetchFailed(refusal.detail)
                    await operation_journal.fail(transaction, job, found, reason, refused)
                else:
                    await job.again(transaction, 0.0)
            return
        await scene.progress.tell()
        async with job.transaction() as transaction:
            known = await self._fetcher.record(transaction, repository, fetched)
            if is_reached_as(known, repository):
                answer = repository_reply(known)
                await operation_journal.succeed_in(
                    transaction, job, found, changed=fetched.is_new, answer=answer
                )
            else:  # it is elsewhere by now
                await job.again(transaction, 0.0)
        await self._mirrors.make_room()

    async def _clean_up(self, scene: OperationScene, found: Operation) -> None:
        sizes = await cleaning.cleaned(
            self._mirrors, self._mirrors.of(scene.source), partial(self._needed, found)
        )
        before, after = sizes or (0, 0)
        async with scene.job.transaction() as transaction:
            repository = await repositories.lock(transaction, found.project_id, found.repository_id)
            if repository is not None and sizes is not None:
                await repositories.save(transaction, repository.measured(after))
            freed = max(0, before - after)
            await operation_journal.succeed_in(
                transaction, scene.job, found, changed=freed > 0, freed_bytes=freed
            )

    async def _needed(self, found: Operation) -> set[str]:
        async with self._database.reading() as connection:
            return await operations.needed_commits(connection, found.repository_id, NEEDED_DAYS)

    @staticmethod
    async def _end(job: Job, found: Operation, reason: CannotOperate) -> None:
        async with job.transaction() as transaction:
            is_gone = reason.code == errors.RepositoryNotFound.code
            answer = errors.RepositoryNotFound() if is_gone else errors.FetchFailed(reason.detail)
            await operation_journal.fail(transaction, job, found, reason, answer)

    @staticmethod
    async def _failed(transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """Of faults on our own side, after the last try."""
        project, identifier = place_of(job)
        locked = await operations.lock(transaction, project, identifier)
        if locked is not None and not locked.final:
            now, _ = await projects.moment(transaction, project)
            ended = locked.failed(now, "operation_failed", error.detail, retryable=True)
            await write(transaction, locked, ended)

    @staticmethod
    async def _cancelled(transaction: Transaction, job: Job) -> None:
        """With the command that waits for its end."""
        project, identifier = place_of(job)
        locked = await operations.lock(transaction, project, identifier)
        if locked is None or locked.final or locked.push_begun:
            raise NotCancellable
        now, _ = await projects.moment(transaction, project)
        await write(transaction, locked, locked.cancelled(now))
