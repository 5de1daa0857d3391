"""What is written down of a delivery on its way: each state before the next effect is begun."""

import uuid
from dataclasses import dataclass, replace

from signalbox_common.contracts.git import DeliveryState, Finding
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job
from signalbox_git import errors
from signalbox_git.domain import Delivery, Repository
from signalbox_git.forges.base import Forge
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Source
from signalbox_git.replies import tell_of_delivery
from signalbox_git.store import deliveries, runs


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
class Scene:
    """One delivery in hand."""

    job: Job
    repository: Repository
    source: Source
    forge: Forge | None
    """None where there is only git."""

    def check_protected(self, mirror: Mirror, branch: str) -> None:
        """As the remote is known now; where nobody knows which branch it begins with, none is safe."""
        head = self.repository.main_branch or mirror.note().get("head")
        if self.repository.protects(branch, head):
            raise CannotDeliver(
                DeliveryState.REFUSED, "protected_branch", f"Nothing is delivered to the branch {branch}."
            )


async def write(job: Job, found: Delivery, *, done: bool = False) -> Delivery:
    """Raises where its run has stopped meanwhile, but for what has been done already."""
    async with job.transaction() as transaction:
        if not done:
            await check_run(transaction, found)
        await write_in(transaction, job, found)
    await job.keep()
    return found


async def write_in(transaction: Transaction, job: Job, found: Delivery) -> None:
    """With what else is true with it."""
    locked = await deliveries.lock(transaction, found.project_id, found.id)
    await deliveries.save(transaction, found)
    if locked is None or locked.version != found.version:
        tell_of_delivery(transaction, found)
    if found.final:
        await job.done(transaction)


async def check_run(transaction: Transaction, found: Delivery) -> None:
    if found.run is None:
        return
    run = await runs.lock(transaction, found.project_id, found.run)
    if run.stopping or run.ended:
        raise CannotDeliver(DeliveryState.STOPPED, errors.RunEnded.code, errors.RunEnded.detail)


async def end(job: Job, found: Delivery, reason: CannotDeliver) -> None:
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


async def failed(transaction: Transaction, job: Job, error: SignalboxError) -> None:
    """Of faults on our own side, after the last try."""
    project, identifier = place_of(job)
    locked = await deliveries.lock(transaction, project, identifier)
    if locked is not None and not locked.final:
        ended = locked.ended(DeliveryState.FAILED, "delivery_failed", error.detail, retryable=True)
        await deliveries.save(transaction, ended)
        tell_of_delivery(transaction, ended)


def place_of(job: Job) -> tuple[uuid.UUID, uuid.UUID]:
    if job.project is None:
        raise SignalboxError("a delivery is in a project")
    return job.project, uuid.UUID(job.key)
