"""What is written down of pull requests, as their forge has them."""

import uuid
from dataclasses import dataclass, replace

from signalbox_common.db import Transaction
from signalbox_common.keys import uuid7
from signalbox_common.work import Worker
from signalbox_git.domain import PULL_REQUEST_ENDED, PullRequest, Repository
from signalbox_git.forges.base import SeenPullRequest
from signalbox_git.replies import tell_of_pull_request
from signalbox_git.service.pull_requests import LOOK
from signalbox_git.store import projects, pull_requests

FIRST_LOOK = 60.0
"""Seconds after which one that is open is looked at again; later ones come more seldom, as it grows older."""


@dataclass(frozen=True)
class Origin:
    """Whom, and what, it was opened for."""

    person: uuid.UUID
    run: uuid.UUID | None = None
    task: uuid.UUID | None = None


async def record(
    transaction: Transaction,
    worker: Worker,
    repository: Repository,
    seen: SeenPullRequest,
    origin: Origin | None = None,
) -> PullRequest:
    """Tells of it where it is another one than before, and has it looked at as long as it is open."""
    now, _ = await projects.moment(transaction, repository.project_id)
    known = await pull_requests.numbered(transaction, repository.id, seen.number)
    if known is None and origin is not None:
        found = PullRequest(
            id=uuid7(),
            project_id=repository.project_id,
            repository_id=repository.id,
            number=seen.number,
            url=seen.url,
            state=seen.state,
            head=seen.head,
            base=seen.base,
            title=seen.title,
            commit=seen.head_commit,
            run=origin.run,
            task=origin.task,
            created_by=origin.person,
            created_at=now,
            seen_at=now,
        )
        if await pull_requests.add(transaction, found):
            tell_of_pull_request(transaction, found)
            await _watch(transaction, worker, found)
            return found
        known = await pull_requests.numbered(transaction, repository.id, seen.number)
    if known is None:
        raise LookupError(f"pull request {seen.number} has no record")
    changed = replace(
        known,
        url=seen.url,
        state=seen.state,
        head=seen.head,
        base=seen.base,
        title=seen.title,
        commit=seen.head_commit,
        run=(origin.run if origin else None) or known.run,
        task=(origin.task if origin else None) or known.task,
    )
    if changed != known:
        changed = replace(changed, version=known.version + 1)
        tell_of_pull_request(transaction, changed)
    await pull_requests.save(transaction, replace(changed, seen_at=now))
    await _watch(transaction, worker, changed)
    return replace(changed, seen_at=now)


async def _watch(transaction: Transaction, worker: Worker, found: PullRequest) -> None:
    if found.state not in PULL_REQUEST_ENDED:
        project = found.project_id
        await worker.put(transaction, LOOK, str(found.id), project=project, due_in=FIRST_LOOK)
