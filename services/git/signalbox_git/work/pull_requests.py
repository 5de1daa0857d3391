"""Asks forges about pull requests: for people who wait for it, and by itself as long as one is open."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from signalbox_common.contracts.git import PullRequestState
from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_git import errors
from signalbox_git.domain import PULL_REQUEST_ENDED, PullRequest, Repository
from signalbox_git.forges.base import Forge, PullRequestText, SeenPullRequest
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.replies import pull_request_reply
from signalbox_git.service.forges import Forges
from signalbox_git.service.pull_requests import CHANGE, LOOK, OPEN
from signalbox_git.service.sources import Sources
from signalbox_git.store import projects, pull_requests, repositories
from signalbox_git.work.opener import away, mark_of, marked, may_pass, opened
from signalbox_git.work.pull_request_records import FIRST_LOOK, Origin, record

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds before a forge that is away is asked again, while a person waits."""
_SELDOM, _SHARE, _LONGEST_OPEN = 3600.0, 20, 90 * 24 * 3600.0
"""How seldom one is looked at at last, after which share of its age, and for how long at all."""
MOST, MOST_IN_PROJECT = 16, 4


class PullRequestWork:
    def __init__(self, database: Database, worker: Worker, sources: Sources, forges: Forges) -> None:
        self._database = database
        self._worker = worker
        self._sources = sources
        self._forges = forges

    def register(self) -> None:
        retry = Retry(PAUSES)
        kinds = ((OPEN, self.open), (CHANGE, self.change), (LOOK, self.look))
        for kind, handler in kinds:
            self._worker.on(kind, most=MOST, most_in_project=MOST_IN_PROJECT, retry=retry)(handler)

    async def open(self, job: Job) -> None:
        wanted = job.payload

        async def ask(forge: Forge) -> SeenPullRequest:
            text = PullRequestText(
                wanted["title"],
                marked(wanted["body"], job.key),
                draft=wanted["draft"],
                labels=tuple(wanted["labels"]),
                reviewers=tuple(wanted["reviewers"]),
            )
            return await opened(forge, wanted["head"], wanted["base"], text)

        origin = Origin(uuid.UUID(wanted["person"]))
        await self._answered(job, uuid.UUID(wanted["repository"]), ask, origin)

    async def change(self, job: Job) -> None:
        found = await self._find(job, job.key.partition("/")[0])
        if found is None:
            await _end(job, errors.PullRequestNotFound())
            return

        async def ask(forge: Forge) -> SeenPullRequest:
            if job.payload.get("close"):
                return await forge.close(found.number)
            now = await forge.get(found.number)
            return await forge.update(found.number, _text(now, job)) if job.payload else now

        await self._answered(job, found.repository_id, ask)

    async def look(self, job: Job) -> None:
        """As long as it is open; how often depends on how old it is."""
        found = await self._find(job, job.key)
        place = await self._place(job, found.repository_id) if found is not None else None
        if found is None or place is None or found.state in PULL_REQUEST_ENDED:
            await _end(job, None)
            return
        repository, forge = place
        seen, wait = None, 0.0
        try:
            seen = await forge.get(found.number) if forge is not None else None
        except RemoteRefused as refusal:
            wait = refusal.retry_after or (0.0 if refusal.passes else _SELDOM)
        async with job.transaction() as transaction:
            if seen is not None:
                found = await record(transaction, self._worker, repository, seen)
            now, _ = await projects.moment(transaction, repository.project_id)
            age = (now - found.created_at).total_seconds()
            if found.state in PULL_REQUEST_ENDED or forge is None or age > _LONGEST_OPEN:
                await job.done(transaction)
            else:
                await job.again(transaction, max(wait, min(max(age / _SHARE, FIRST_LOOK), _SELDOM)))

    # -- what they have in common ----------------------------------------------------------------------------

    async def _answered(
        self,
        job: Job,
        repository_id: uuid.UUID,
        ask: Callable[[Forge], Awaitable[SeenPullRequest]],
        origin: Origin | None = None,
    ) -> None:
        """Asks, writes down what is there, and tells who waits."""
        place = await self._place(job, repository_id)
        if place is None or place[1] is None:
            await _end(job, errors.RepositoryNotFound() if place is None else errors.NoForge())
            return
        repository, forge = place[0], place[1]
        await job.keep()
        try:
            seen = await ask(forge)
        except RemoteRefused as refusal:
            if may_pass(refusal) and job.attempts <= len(PAUSES):
                raise away(refusal) from refusal
            kind = errors.ForgeAway if refusal.passes else errors.ForgeRefuses
            await _end(job, kind(refusal.detail))
            return
        async with job.transaction() as transaction:
            found = await record(transaction, self._worker, repository, seen, origin)
            await job.done(transaction, pull_request_reply(found))

    async def _find(self, job: Job, pull_request: str) -> PullRequest | None:
        if job.project is None:
            return None
        async with self._database.reading() as connection:
            return await pull_requests.get(connection, job.project, uuid.UUID(pull_request))

    async def _place(self, job: Job, repository_id: uuid.UUID) -> tuple[Repository, Forge | None] | None:
        """None where it is gone."""
        if job.project is None:
            return None
        async with self._database.reading() as connection:
            if await projects.is_deleted(connection, job.project):
                return None
            repository = await repositories.get(connection, job.project, repository_id)
        if repository is None:
            return None
        return repository, self._forges.of(repository, await self._sources.of(repository))


async def _end(job: Job, answer: SignalboxError | None) -> None:
    async with job.transaction() as transaction:
        await job.done(transaction, answer)


def _text(now: SeenPullRequest, job: Job) -> PullRequestText:
    """As it is, but for what was named; it stays known as ours."""
    wanted, mark = job.payload, mark_of(now.body)
    body = now.body
    if "body" in wanted:
        body = f"{wanted['body'].rstrip()}\n\n{mark}".lstrip() if mark is not None else wanted["body"]
    return replace(
        PullRequestText(wanted.get("title", now.title), body, draft=now.state is PullRequestState.DRAFT),
        labels=tuple(wanted.get("labels", ())),
        reviewers=tuple(wanted.get("reviewers", ())),
    )
