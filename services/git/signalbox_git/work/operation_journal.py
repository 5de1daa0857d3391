"""What is written down of an operation while it is done: each step before the next effect is begun."""

import uuid
from dataclasses import dataclass
from typing import Any

from signalbox_common.contracts.base import Reply
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Overtaken
from signalbox_git.domain import Repository
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Source
from signalbox_git.operations.changes import write
from signalbox_git.operations.record import Operation
from signalbox_git.store import operations, projects
from signalbox_git.work.operation_progress import OperationProgress


class CannotOperate(Exception):
    """It ends here: with a code and a sentence."""

    def __init__(
        self, code: str, detail: str, *, paths: tuple[str, ...] = (), retryable: bool = False
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.paths, self.retryable = code, detail, paths, retryable


class CancelledMeanwhile(Exception):
    """Nothing more is begun; what was begun has not arrived."""


@dataclass(frozen=True)
class OperationScene:
    """One operation in hand."""

    job: Job
    repository: Repository
    source: Source
    progress: OperationProgress

    def check_protected(self, mirror: Mirror, found: Operation) -> None:
        """As the remote is known now; where nobody knows which branch it begins with, none is safe."""
        branch = found.branch
        if branch is None or found.action["protected"] == "allow":
            return
        head = self.head(mirror)
        if self.repository.protects(branch, head):
            raise CannotOperate("protected_branch", f"The branch {branch} is protected.")

    def head(self, mirror: Mirror) -> str | None:
        known: str | None = mirror.note().get("head")
        return self.repository.main_branch or known


async def begin(job: Job, found: Operation) -> Operation:
    """In the hands of a worker, from its first try on."""
    async with job.transaction() as transaction:
        locked = await _locked(transaction, found)
        if locked.started_at is not None:
            return locked
        now, _ = await projects.moment(transaction, found.project_id)
        return await write(transaction, locked, locked.begun(now))


async def keep(job: Job, found: Operation) -> Operation:
    """Before an effect outside; with what others have said of it meanwhile."""
    async with job.transaction() as transaction:
        kept = await write(transaction, await _locked(transaction, found), found)
    await job.keep()
    return kept


async def succeed(
    job: Job, found: Operation, *, changed: bool, answer: Reply | None = None, **more: Any
) -> None:
    async with job.transaction() as transaction:
        await succeed_in(transaction, job, found, changed=changed, answer=answer, **more)


async def succeed_in(
    transaction: Transaction,
    job: Job,
    found: Operation,
    *,
    changed: bool,
    answer: Reply | None = None,
    **more: Any,
) -> None:
    """With what else is true with it."""
    locked = await _locked(transaction, found)
    now, _ = await projects.moment(transaction, found.project_id)
    await write(transaction, locked, found.succeeded(now, changed=changed, **more))
    await job.done(transaction, answer)


async def fail(
    transaction: Transaction, job: Job, found: Operation, reason: CannotOperate, answer: SignalboxError
) -> None:
    locked = await _locked(transaction, found)
    now, _ = await projects.moment(transaction, found.project_id)
    ended = locked.failed(now, reason.code, reason.detail, retryable=reason.retryable, paths=reason.paths)
    await write(transaction, locked, ended)
    await job.done(transaction, answer)


async def cancel(job: Job, found: Operation) -> None:
    async with job.transaction() as transaction:
        locked = await _locked(transaction, found)
        now, _ = await projects.moment(transaction, found.project_id)
        await write(transaction, locked, locked.cancelled(now))
        await job.done(transaction)


async def _locked(transaction: Transaction, found: Operation) -> Operation:
    """Raises Overtaken where others have ended it: a row of work that is still ours says otherwise."""
    locked = await operations.lock(transaction, found.project_id, found.id)
    if locked is None or locked.final:
        raise Overtaken(f"operation {found.id}")
    return locked


def place_of(job: Job) -> tuple[uuid.UUID, uuid.UUID]:
    if job.project is None:
        raise SignalboxError("an operation is in a project")
    return job.project, uuid.UUID(job.key)
