"""Prepares checkouts: the mirror as fresh as that needs, then the tree, then where it is found."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from signalbox_common.contracts.git import CheckoutState, RefName
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.domain import HEADS, Checkout, CheckoutOptions, Repository
from signalbox_git.mirrors import reading
from signalbox_git.mirrors.gitmodules import ModuleRefused
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import DISK_FULL, Mirrors, Source
from signalbox_git.mirrors.modules import Modules
from signalbox_git.mirrors.partial import files_of
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.replies import tell_of_checkout
from signalbox_git.service.checkouts import PREPARE
from signalbox_git.service.sources import Sources
from signalbox_git.store import checkouts, projects, repositories, runs
from signalbox_git.trees.bounds import CannotBeLaidOut, TreeTooLarge
from signalbox_git.trees.trees import Trees
from signalbox_git.work.fetcher import Fetcher

PAUSES = (1.0, 2.0, 5.0, 15.0)
"""Seconds before what has failed is tried again."""
MOST, MOST_IN_PROJECT = 96, 16
"""Those whose remotes hang hold their places for as long: a few projects do not take them all."""
_WHOLE = 40


@dataclass(frozen=True)
class Start:
    """Where a checkout begins, and the branch that it is on."""

    commit: str
    branch: str
    base: str


class CannotBegin(Exception):
    """With a code, and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Preparer:
    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        trees: Trees,
        sources: Sources,
        fetcher: Fetcher,
        *,
        freshness: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`freshness` is in seconds: a fetch that began so long before it was asked for is good enough."""
        self._database = database
        self._mirrors = mirrors
        self._modules = Modules(mirrors)
        self._trees = trees
        self._sources = sources
        self._fetcher = fetcher
        self._freshness = freshness
        self._clock = clock

    def register(self, worker: Worker) -> None:
        take = worker.on(
            PREPARE, most=MOST, most_in_project=MOST_IN_PROJECT, retry=Retry(PAUSES), failed=self._failed
        )
        take(self.prepare)

    async def prepare(self, job: Job) -> None:
        project, identifier = _place_of(job)
        async with self._database.reading() as connection:
            found = await checkouts.get(connection, project, identifier)
        if found is None or found.state is not CheckoutState.PREPARING:
            return
        try:
            # A branch that somebody goes on with may have been pushed a moment ago.
            slack = self._freshness if found.wanted["branch"] is None else 0.0
            await self._make(job, found, self._clock() - slack)
        except RemoteRefused as refusal:
            if refusal.passes and job.attempts <= len(PAUSES):
                raise errors.RemoteAway(refusal.detail) from refusal
            code = DISK_FULL if refusal.reason == DISK_FULL else "checkout_failed"
            await self._end(job, found.failed(code, refusal.detail, retryable=refusal.passes))
        except CannotBegin as reason:
            await self._end(job, found.failed(reason.code, reason.detail))
        except ModuleRefused as reason:
            await self._end(job, found.failed("submodule_refused", str(reason)))
        except CannotBeLaidOut as reason:
            await self._end(job, found.failed("cannot_be_laid_out", str(reason)))
        except TreeTooLarge:
            await self._end(
                job, found.failed("too_large", "The files of this commit are too large together.")
            )

    async def _make(self, job: Job, found: Checkout, asked_at: float) -> None:
        """Done again, all of it is found done."""
        repository = await self._repository(found)
        source = await self._sources.of(repository)
        for since in (*self._enough(source, found), asked_at, self._clock()):
            fetched = await self._mirrors.fetch(source, since)
            if fetched.is_new:
                async with job.transaction() as transaction:
                    await self._fetcher.record(transaction, repository, fetched)
            await job.keep()
            async with self._mirrors.fresh(source, since) as mirror:
                start = await _start(
                    mirror, found, repository.default_branch or fetched.head or repository.head
                )
                if start is None:  # it may have come since
                    continue
                wanted = found.wanted
                options = CheckoutOptions(
                    start.branch, wanted["depth"], _sparse(found), wanted["submodules"], wanted["lfs"]
                )
                fetch = partial(self._modules.fetched, source, mirror, start.commit, options.depth)
                files = files_of(start.commit, depth=options.depth)
                await self._mirrors.keep(source, start.commit)
                await job.keep()
                async with self._trees.made(
                    mirror,
                    found.project_id,
                    start.commit,
                    options,
                    fetch if options.submodules else None,
                    self._mirrors.lfs_of(source).fetch if options.lfs else None,
                    partial(self._mirrors.complete, source, files),
                ) as name:
                    self._trees.link(found.project_id, found.id, name)
                    await self._end(job, found.ready(start.commit, start.branch, start.base, name))
            return
        raise CannotBegin(errors.RevisionNotFound.code, errors.RevisionNotFound.detail)

    async def _repository(self, found: Checkout) -> Repository:
        async with self._database.reading() as connection:
            repository = await repositories.get(connection, found.project_id, found.repository_id)
            is_deleted = await projects.is_deleted(connection, found.project_id)
        if repository is None or is_deleted:
            gone = errors.ProjectGone if is_deleted else errors.RepositoryNotFound
            raise CannotBegin(gone.code, gone.detail)
        return repository

    def _enough(self, source: Source, found: Checkout) -> tuple[float, ...]:
        """A whole commit never changes: what was fetched at any time is enough, where it is in that."""
        wanted = found.wanted
        is_whole = wanted["branch"] is None and len(wanted["ref"] or "") >= _WHOLE
        return (0.0,) if is_whole and self._mirrors.of(source).is_there else ()

    async def _end(self, job: Job, found: Checkout) -> None:
        async with job.transaction() as transaction:
            await self._write(transaction, found)
            await job.done(transaction)

    async def _write(self, transaction: Transaction, found: Checkout) -> None:
        """Unless its run has stopped meanwhile."""
        if found.run is not None:
            run = await runs.lock(transaction, found.project_id, found.run)
            if (run.stopping or run.ended) and found.state is CheckoutState.READY:
                found = found.failed(errors.RunEnded.code, errors.RunEnded.detail)
        locked = await checkouts.lock(transaction, found.project_id, found.id)
        if locked is not None and locked.state is CheckoutState.PREPARING:
            await checkouts.save(transaction, found)
            tell_of_checkout(transaction, found)
        if found.state is CheckoutState.FAILED:
            self._trees.unlink(found.project_id, found.id)

    async def _failed(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """Of faults on our own side, after the last try."""
        project, identifier = _place_of(job)
        found = await checkouts.lock(transaction, project, identifier)
        if found is not None:
            await self._write(transaction, found.failed("checkout_failed", error.detail, retryable=True))


async def _start(mirror: Mirror, found: Checkout, default: str | None) -> Start | None:
    """None where there is nothing of that name, as far as is known."""
    wanted: dict[str, Any] = dict(found.wanted)
    named: RefName | None = wanted["branch"]
    if named is not None and (commit := await _commit(mirror, f"{HEADS}{named}", None)) is not None:
        return Start(commit, wanted["new_branch"] or named, named)
    base = wanted["ref"] or default
    if base is None:
        raise CannotBegin("repository_empty", "There is nothing in the repository yet.")
    commit = await _commit(mirror, base, default)
    if commit is None:
        return None
    is_branch = await _commit(mirror, f"{HEADS}{base}", None) is not None
    own = base if is_branch else f"checkout-{found.id.hex[-8:]}"
    return Start(commit, wanted["new_branch"] or named or own, base)


async def _commit(mirror: Mirror, revision: str, default: str | None) -> str | None:
    if revision.startswith(HEADS):
        said = await mirror.git.line("for-each-ref", "--format=%(objectname) %(refname)", revision)
        pairs = (line.split(" ", 1) for line in said.split("\n") if " " in line)
        return next((commit for commit, name in pairs if name == revision), None)
    try:
        return await reading.resolve(mirror.git, revision, default)
    except errors.RevisionNotFound:
        return None


def _sparse(found: Checkout) -> tuple[str, ...]:
    folders = (folder.strip("/") for folder in found.wanted["sparse"])
    return tuple(sorted({folder for folder in folders if folder}))


def _place_of(job: Job) -> tuple[uuid.UUID, uuid.UUID]:
    if job.project is None:
        raise SignalboxError("a checkout is in a project")
    return job.project, uuid.UUID(job.key)
