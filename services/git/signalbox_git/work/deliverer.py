"""Delivers: the commit, then the push; each is looked for before it is done, and written down after."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts.git import DeliveryState, Finding
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.changes import ChangeFiles
from signalbox_git.command import AnsweredTooMuch, TookTooLong
from signalbox_git.commits import changes as reading
from signalbox_git.commits import findings, rebase
from signalbox_git.commits.quarantine import Authorship, Person, Quarantine
from signalbox_git.domain import HEADS, Delivery, Repository
from signalbox_git.mirrors.mirror import Mirror, MirrorBroken, kept_ref
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.remote import BranchMoved, Remote
from signalbox_git.replies import tell_of_delivery
from signalbox_git.service.deliveries import DELIVER
from signalbox_git.service.sources import Sources
from signalbox_git.store import deliveries, projects, repositories, runs

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 240.0)
"""Seconds before a remote that is away is tried again: ten minutes together."""
MOST, MOST_IN_PROJECT = 16, 8
_LOOKS = 12
"""At a branch that others move, too."""
_NUMBERED = re.compile(r"(.*)-([2-9])")
_LAST_NUMBER = 9


class CannotDeliver(Exception):
    """It ends here: in that state, with a code and a sentence."""

    def __init__(
        self,
        state: DeliveryState,
        code: str,
        detail: str,
        *,
        found: tuple[Finding, ...] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(detail)
        self.state, self.code, self.detail, self.found, self.retryable = state, code, detail, found, retryable


@dataclass(frozen=True)
class _Scene:
    """One delivery in hand."""

    job: Job
    repository: Repository
    source: Source


class Deliverer:
    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        sources: Sources,
        files: ChangeFiles,
        *,
        committer: Person,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._sources = sources
        self._files = files
        self._committer = committer
        self._clock = clock

    def register(self, worker: Worker) -> None:
        take = worker.on(
            DELIVER, most=MOST, most_in_project=MOST_IN_PROJECT, retry=Retry(PAUSES), failed=self._failed
        )
        take(self.deliver)

    async def deliver(self, job: Job) -> None:
        project, identifier = _place_of(job)
        async with self._database.reading() as connection:
            found = await deliveries.get(connection, project, identifier)
        if found is None or found.final:
            return
        try:
            scene = await self._scene(job, found)
            if found.state is DeliveryState.PENDING or not await self._is_here(scene, found):
                found = await self._commit(scene, _as_asked(found))
            await self._push(scene, found)
        except CannotDeliver as reason:
            await self._end(job, found, reason)
        except RemoteRefused as refusal:
            if refusal.passes and job.attempts <= len(PAUSES):
                raise errors.RemoteAway(refusal.detail) from refusal
            code = "push_failed" if refusal.passes else refusal.reason
            ended = CannotDeliver(DeliveryState.FAILED, code, refusal.detail, retryable=True)
            await self._end(job, found, ended)

    async def _scene(self, job: Job, found: Delivery) -> _Scene:
        async with self._database.reading() as connection:
            repository = await repositories.get(connection, found.project_id, found.repository_id)
            is_deleted = await projects.is_deleted(connection, found.project_id)
        if repository is None or is_deleted:
            gone = errors.ProjectGone if is_deleted else errors.RepositoryNotFound
            raise CannotDeliver(DeliveryState.FAILED, gone.code, gone.detail)
        return _Scene(job, repository, await self._sources.of(repository))

    async def _is_here(self, scene: _Scene, found: Delivery) -> bool:
        """Its commit may be gone with the mirror that it was in: then it is made again, the same."""
        async with self._with_base(scene, found) as mirror:
            return found.commit is not None and await _has(mirror, found.commit)

    # -- the commit ----------------------------------------------------------------------------------------

    async def _commit(self, scene: _Scene, found: Delivery) -> Delivery:
        async with self._with_base(scene, found) as mirror:
            _check_protected(scene.repository, mirror, str(found.branch))
            path = self._files.path(found.project_id, found.changes)
            tree_size = await _tree_size(mirror, found.base)
            try:
                noticed = await self._look(path, found, tree_size)
                commit = await self._made(mirror, path, found)
            except ChangesRefused as error:
                raise CannotDeliver(DeliveryState.REFUSED, error.code, str(error)) from error
            if commit is None:
                raise CannotDeliver(DeliveryState.UNCHANGED, "unchanged", "There is nothing to commit.")
            await self._mirrors.keep(scene.source, commit)
        told = tuple(each.model_dump(mode="json", by_alias=True) for each in noticed)
        return await self._write(scene.job, found.now(DeliveryState.COMMITTED, commit=commit, findings=told))

    @asynccontextmanager
    async def _with_base(self, scene: _Scene, found: Delivery) -> AsyncIterator[Mirror]:
        """A mirror that has the commit which it begins at; raises where nobody has that any more."""
        for since in (0.0, self._clock()):
            async with self._mirrors.fresh(scene.source, since) as mirror:
                if await _has(mirror, found.base):
                    yield mirror
                    return
        raise CannotDeliver(
            DeliveryState.FAILED,
            "base_not_found",
            "The repository has no commit any more that this began at.",
        )

    async def _look(self, path: Path, found: Delivery, tree_size: int) -> tuple[Finding, ...]:
        """What is noticed and allowed; raises where something is not."""
        stored = await self._stored_secrets(found.project_id)

        def look() -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
            with path.open("rb") as file:
                changes = reading.read(file)
                return findings.workflows(changes), findings.look(changes, stored, tree_size)

        of_workflows, others = await asyncio.to_thread(look)
        if of_workflows and found.wanted["workflow_files"] != "allow":
            raise CannotDeliver(
                DeliveryState.REFUSED,
                "workflow_files",
                "The changes are about files that a forge runs with rights of its own.",
                found=of_workflows,
            )
        if others and found.wanted["findings"] != "allow":
            raise CannotDeliver(
                DeliveryState.REFUSED,
                "findings",
                "Somebody should look at this before it leaves.",
                found=others,
            )
        return (*of_workflows, *others)

    async def _stored_secrets(self, project: uuid.UUID) -> list[str]:
        """Every credential of the project's repositories."""
        async with self._database.reading() as connection:
            known = await repositories.with_credentials(connection, project)
        found = []
        for repository in known:
            credential = (await self._sources.of(repository)).credential
            if credential is not None and credential.token is not None:
                found.append(credential.token)
        return found

    async def _made(self, mirror: Mirror, path: Path, found: Delivery) -> str | None:
        mirror.making.mkdir(exist_ok=True)
        async with Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
            with path.open("rb") as file:
                changes = await asyncio.to_thread(reading.read, file)
                commit = await quarantine.commit(found.base, changes, self._authorship(found))
            if commit is not None:
                await quarantine.accept(commit, found.base)
            return commit

    def _authorship(self, found: Delivery) -> Authorship:
        """The same each time: so is the commit."""
        wanted: dict[str, Any] = dict(found.wanted)
        trailers = [f"Co-authored-by: {each['name']} <{each['email']}>" for each in wanted["co_authors"]]
        message = str(wanted["message"]).rstrip("\n")
        text = f"{message}\n\n" + "\n".join(trailers) if trailers else message
        author = Person(wanted["author"]["name"], wanted["author"]["email"])
        return Authorship(author, self._committer, found.created_at, f"{text}\n")

    # -- the push --------------------------------------------------------------------------------------------

    async def _push(self, scene: _Scene, found: Delivery) -> Delivery:
        async with self._with_base(scene, found) as mirror, self._mirrors.at(scene.source) as there:
            if not found.push_begun and (done := await self._pushed(scene, there, mirror, found)):
                return done  # most often nobody else is there, and nothing has to be looked at
            found = replace(found, push_begun=True)
            for _ in range(_LOOKS):
                name = f"{HEADS}{found.branch}"
                tip = (await there.refs(mirror.git, name)).refs.get(name)
                if tip == found.commit or await self._has_arrived(scene, mirror, found, tip):
                    return await self._write(scene.job, found.now(DeliveryState.PUSHED), final=True)
                if tip is None or tip == found.expected:
                    found = replace(found, expected=tip)
                    if done := await self._pushed(scene, there, mirror, found):
                        return done
                    continue  # somebody was faster: it is looked at again
                found = await self._moved(scene, there, mirror, found, tip)
                if found.final:
                    return found
        raise RemoteRefused("moves", "The branch is moved by others all the time.", passes=True)

    async def _pushed(self, scene: _Scene, there: Remote, mirror: Mirror, found: Delivery) -> Delivery | None:
        """None where something else is there than expected."""
        found = await self._write(scene.job, replace(found, push_begun=True))
        try:
            await there.push(mirror.git, str(found.commit), str(found.branch), found.expected)
        except BranchMoved:
            return None
        return await self._write(scene.job, found.now(DeliveryState.PUSHED), final=True)

    async def _has_arrived(self, scene: _Scene, mirror: Mirror, found: Delivery, tip: str | None) -> bool:
        """Whether it was pushed before, by a try that could not write it down, whatever has become of it."""
        if not found.push_begun or (tip is not None and tip == found.expected):
            return False
        await self._mirrors.fetch(scene.source, self._clock())
        said = await mirror.git.run(
            "for-each-ref", "--count=1", "--format=%(refname)", f"--contains={found.commit}", HEADS
        )
        return bool(said.strip())

    async def _moved(
        self, scene: _Scene, there: Remote, mirror: Mirror, found: Delivery, tip: str
    ) -> Delivery:
        """Somebody else has written there: ours goes on top of it, once, or beside it."""
        if not found.rebased:
            await there.fetch_commit(mirror.git, str(found.branch))
            onto = await rebase.onto(mirror.git, str(found.commit), found.base, tip, self._authorship(found))
            if onto == tip:  # all of it is there: ours from a try before, or somebody has done the same
                return await self._write(scene.job, found.now(DeliveryState.PUSHED, commit=tip), final=True)
            if onto is not None:
                await self._mirrors.keep(scene.source, onto)
                return await self._write(
                    scene.job,
                    replace(found, commit=onto, expected=tip, rebased=True, push_begun=False),
                )
        beside = _next_name(str(found.branch))
        if beside is None:
            raise CannotDeliver(
                DeliveryState.FAILED,
                "branch_moved",
                "The branch was moved by others, and those beside it too.",
            )
        _check_protected(scene.repository, mirror, beside)
        return await self._write(
            scene.job, replace(found, branch=beside, expected=None, rebased=True, push_begun=False)
        )

    # -- what is written down --------------------------------------------------------------------------------

    async def _write(self, job: Job, found: Delivery, *, final: bool = False) -> Delivery:
        """Raises where its run has stopped meanwhile, but for what has been done already."""
        async with job.transaction() as transaction:
            if not final:
                await self._check_run(transaction, found)
            locked = await deliveries.lock(transaction, found.project_id, found.id)
            await deliveries.save(transaction, found)
            if locked is None or locked.version != found.version:
                tell_of_delivery(transaction, found)
            if final:
                await job.done(transaction)
        await job.keep()
        return found

    async def _check_run(self, transaction: Transaction, found: Delivery) -> None:
        if found.run is None:
            return
        run = await runs.lock(transaction, found.project_id, found.run)
        if run.stopping or run.ended:
            raise CannotDeliver(DeliveryState.STOPPED, errors.RunEnded.code, errors.RunEnded.detail)

    async def _end(self, job: Job, found: Delivery, reason: CannotDeliver) -> None:
        async with job.transaction() as transaction:
            locked = await deliveries.lock(transaction, found.project_id, found.id)
            if locked is not None and not locked.final:
                told = tuple(each.model_dump(mode="json", by_alias=True) for each in reason.found)
                ended = locked.ended(reason.state, reason.code, reason.detail, retryable=reason.retryable)
                if reason.state is DeliveryState.UNCHANGED:
                    ended = replace(ended, error=None)
                ended = replace(ended, findings=told or locked.findings)
                await deliveries.save(transaction, ended)
                tell_of_delivery(transaction, ended)
            await job.done(transaction)

    async def _failed(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """Of faults on our own side, after the last try."""
        project, identifier = _place_of(job)
        locked = await deliveries.lock(transaction, project, identifier)
        if locked is not None and not locked.final:
            ended = locked.ended(DeliveryState.FAILED, "delivery_failed", error.detail, retryable=True)
            await deliveries.save(transaction, ended)
            tell_of_delivery(transaction, ended)


def _as_asked(found: Delivery) -> Delivery:
    """Whether it was pushed already is not forgotten."""
    branch, expected = found.wanted["branch"], found.wanted["expected"]
    return replace(found, branch=branch, expected=expected, rebased=False)


def _check_protected(repository: Repository, mirror: Mirror, branch: str) -> None:
    """As the remote is known now; where nobody knows which branch it begins with, none is safe."""
    head = repository.main_branch or mirror.note().get("head")
    if repository.protects(branch, head):
        raise CannotDeliver(
            DeliveryState.REFUSED, "protected_branch", f"Nothing is delivered to the branch {branch}."
        )


async def _has(mirror: Mirror, commit: str) -> bool:
    """Raises MirrorBroken where it was kept and is not there any more."""
    asked = f"{commit}^{{commit}}\n".encode("ascii")
    said = await mirror.git.run("cat-file", "--batch-check=%(objectname)", given=asked)
    if said.decode("ascii", "replace").strip() == commit:
        return True
    if await mirror.git.run("for-each-ref", kept_ref(commit)):
        raise MirrorBroken(f"{commit} is lost")
    return False


async def _tree_size(mirror: Mirror, commit: str) -> int:
    try:
        return (await mirror.git.run("ls-tree", "-r", "-z", "--name-only", commit)).count(b"\0")
    except (AnsweredTooMuch, TookTooLong) as error:
        detail = "The repository has too many files."
        raise CannotDeliver(DeliveryState.FAILED, "too_large", detail) from error


def _next_name(branch: str) -> str | None:
    """`<branch>-2`, then 3, up to 9."""
    numbered = _NUMBERED.fullmatch(branch)
    if numbered is None:
        return f"{branch}-2"
    number = int(numbered[2]) + 1
    return f"{numbered[1]}-{number}" if number <= _LAST_NUMBER else None


def _place_of(job: Job) -> tuple[uuid.UUID, uuid.UUID]:
    if job.project is None:
        raise SignalboxError("a delivery is in a project")
    return job.project, uuid.UUID(job.key)
