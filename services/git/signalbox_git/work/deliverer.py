"""Delivers: the commit, the push, the pull request; each is looked for first, and written down after."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts.git import DeliveryState, Finding
from signalbox_common.db import Database
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.changes import ChangeFiles
from signalbox_git.command import AnsweredTooMuch, TookTooLong
from signalbox_git.commits import changes as reading
from signalbox_git.commits import findings, messages
from signalbox_git.commits.moving import ManyCommits, Movable, OneCommit
from signalbox_git.commits.quarantine import Authorship, Person, Quarantine
from signalbox_git.commits.series import beginnings
from signalbox_git.domain import Delivery
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.mirrors.partial import files_of
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.service.deliveries import DELIVER
from signalbox_git.service.forges import Forges
from signalbox_git.service.sources import Sources
from signalbox_git.store import deliveries, projects, repositories
from signalbox_git.work.admission import admitted
from signalbox_git.work.delivery_journal import CannotDeliver, Scene, end, failed, place_of, write
from signalbox_git.work.kept_commits import KeptCommits
from signalbox_git.work.opener import Opener, away, may_pass
from signalbox_git.work.pusher import Pusher
from signalbox_git.work.signatures import Signatures

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 240.0)
"""Seconds before a remote that is away is tried again: ten minutes together."""
MOST, MOST_IN_PROJECT = 16, 8


class Deliverer:
    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        sources: Sources,
        files: ChangeFiles,
        forges: Forges,
        opener: Opener,
        *,
        committer: Person,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._sources = sources
        self._files = files
        self._forges = forges
        self._pusher = Pusher(mirrors, clock=clock)
        self._opener = opener
        self._kept = KeptCommits(sources, files)
        self._signatures = Signatures(database, sources)
        self._committer = committer
        self._clock = clock

    def register(self, worker: Worker) -> None:
        take = worker.on(
            DELIVER, most=MOST, most_in_project=MOST_IN_PROJECT, retry=Retry(PAUSES), failed=failed
        )
        take(self.deliver)

    async def deliver(self, job: Job) -> None:
        project, identifier = place_of(job)
        async with self._database.reading() as connection:
            found = await deliveries.get(connection, project, identifier)
        if found is None or found.final:
            return
        try:
            scene = await self._scene(job, found)
            if found.state is not DeliveryState.PUSHED:
                if found.state is DeliveryState.PENDING or not await self._is_here(scene, found):
                    found = await self._commit(scene, _as_asked(found))
                async with self._with_base(scene, found) as mirror:
                    found = await self._pusher.push(scene, mirror, found, self._movable(scene, found))
            if found.opens:
                await self._opener.open(scene, found)
        except CannotDeliver as reason:
            await end(job, found, reason)
        except RemoteRefused as refusal:
            if may_pass(refusal) and job.attempts <= len(PAUSES):
                raise away(refusal) from refusal
            step = "pull_request_failed" if found.state is DeliveryState.PUSHED else "push_failed"
            code = step if refusal.passes else refusal.reason
            await end(job, found, CannotDeliver(DeliveryState.FAILED, code, refusal.detail, retryable=True))

    async def _scene(self, job: Job, found: Delivery) -> Scene:
        async with self._database.reading() as connection:
            repository = await repositories.get(connection, found.project_id, found.repository_id)
            is_deleted = await projects.is_deleted(connection, found.project_id)
        if repository is None or is_deleted:
            gone = errors.ProjectGone if is_deleted else errors.RepositoryNotFound
            raise CannotDeliver(DeliveryState.FAILED, gone.code, gone.detail)
        source = await self._sources.of(repository)
        return Scene(job, repository, source, self._forges.of(repository, source))

    async def _is_here(self, scene: Scene, found: Delivery) -> bool:
        """Its commit may be gone with the mirror that it was in: then it is made again, the same."""
        async with self._with_base(scene, found) as mirror:
            return found.commit is not None and await mirror.has(found.commit)

    # -- the commit ----------------------------------------------------------------------------------------

    async def _commit(self, scene: Scene, found: Delivery) -> Delivery:
        async with self._with_base(scene, found) as mirror:
            scene.check_protected(mirror, str(found.branch))
            path = self._files.path(found.project_id, found.changes)
            tree_size = await _tree_size(mirror, found.base)
            try:
                begins_at = await beginnings(path) if found.bundled else ()
                await self._mirrors.complete(scene.source, files_of(found.base, *begins_at))
                if found.bundled:
                    commit, noticed = await self._kept.made(mirror, found, tree_size)
                else:
                    noticed = await self._look(path, found, tree_size)
                    commit = await self._made(scene, mirror, path, found)
            except ChangesRefused as error:
                raise CannotDeliver(DeliveryState.REFUSED, error.code, str(error)) from error
            if commit is None:
                raise CannotDeliver(DeliveryState.UNCHANGED, "unchanged", "There is nothing to commit.")
            await self._mirrors.keep(scene.source, commit)
        told = tuple(each.model_dump(mode="json", by_alias=True) for each in noticed)
        return await write(scene.job, found.now(DeliveryState.COMMITTED, commit=commit, findings=told))

    @asynccontextmanager
    async def _with_base(self, scene: Scene, found: Delivery) -> AsyncIterator[Mirror]:
        """A mirror that has the commit which it begins at; raises where nobody has that any more."""
        for since in (0.0, self._clock()):
            async with self._mirrors.fresh(scene.source, since) as mirror:
                if await mirror.has(found.base):
                    yield mirror
                    return
        raise CannotDeliver(
            DeliveryState.FAILED,
            "base_not_found",
            "The repository has no commit any more that this began at.",
        )

    async def _look(self, path: Path, found: Delivery, tree_size: int) -> tuple[Finding, ...]:
        """What is noticed and allowed; raises where something is not."""
        stored = await self._sources.tokens(found.project_id)

        def look() -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
            with path.open("rb") as file:
                changes = reading.read(file)
                largest = found.policy.largest_file * findings.MIB
                others = findings.look(changes, stored, tree_size, largest=largest)
                return findings.workflows(changes), others

        of_workflows, others = await asyncio.to_thread(look)
        return admitted(found, of_workflows, others)

    async def _made(self, scene: Scene, mirror: Mirror, path: Path, found: Delivery) -> str | None:
        mirror.making.mkdir(exist_ok=True)
        async with Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
            with path.open("rb") as file:
                changes = await asyncio.to_thread(reading.read, file)
                commit = await quarantine.commit(found.base, changes, self._authorship(found))
            if commit is not None:
                commit = await self._signatures.of(scene, found)(quarantine.git, commit)
                await quarantine.accept(commit, found.base)
            return commit

    def _authorship(self, found: Delivery) -> Authorship:
        """The same each time: so is the commit."""
        author = Person(**found.wanted["author"])
        message = messages.of_delivery(found)
        return Authorship(author, self._committer, found.created_at, message)

    def _movable(self, scene: Scene, found: Delivery) -> Movable:
        seal = self._signatures.of(scene, found)
        if found.bundled:
            return ManyCommits(self._committer, found.created_at, seal)
        return OneCommit(self._authorship(found), seal)


def _as_asked(found: Delivery) -> Delivery:
    """Whether it was pushed already is not forgotten."""
    branch, expected = found.wanted["branch"], found.wanted["expected"]
    return replace(found, branch=branch, expected=expected, rebased=False)


async def _tree_size(mirror: Mirror, commit: str) -> int:
    try:
        return (await mirror.git.run("ls-tree", "-r", "-z", "--name-only", commit)).count(b"\0")
    except (AnsweredTooMuch, TookTooLong) as error:
        detail = "The repository has too many files."
        raise CannotDeliver(DeliveryState.FAILED, "too_large", detail) from error
