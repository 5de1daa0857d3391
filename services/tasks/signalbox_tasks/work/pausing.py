"""The sandbox of a run that waits for a person: its programs stand still, and none of its time goes."""

import uuid

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_tasks.domain import SANDBOX_LOST
from signalbox_tasks.service.news import of_sandbox
from signalbox_tasks.work.turn import StepFailed, Turn, Waiting

_ENDED = frozenset({SandboxStatus.FAILED, SandboxStatus.LOST, SandboxStatus.DESTROYED})


async def paused(turn: Turn, part: str) -> Waiting | None:
    """None once it is."""
    if "sandbox" not in turn.run.facts:
        return None
    if turn.run.facts.get("paused") != part:
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            await turn.save(transaction, run.knowing(paused=part))
    return await _until(turn, SandboxStatus.PAUSED, part)


async def resumed(turn: Turn) -> Waiting | None:
    """None once it runs again, or where it was never paused."""
    part = turn.run.facts.get("paused")
    if part is None:
        return None
    waits = await _until(turn, SandboxStatus.RUNNING, part)
    if waits is None:
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            await turn.save(transaction, run.knowing(paused=None))
    return waits


async def _until(turn: Turn, wanted: SandboxStatus, part: str) -> Waiting | None:
    identifier = uuid.UUID(turn.run.facts["sandbox"])
    found = await turn.peers.query(contract.GetSandbox(sandbox=identifier))
    if found.status is wanted:
        return None
    if found.status in _ENDED:
        raise StepFailed(SANDBOX_LOST, "Its sandbox is not there any more.", retryable=True)
    kind = contract.PauseSandbox if wanted is SandboxStatus.PAUSED else contract.ResumeSandbox
    await turn.tell(kind(sandbox=identifier), wanted, part)
    about = of_sandbox(turn.run.facts["sandboxName"])
    news = await turn.heard(about)
    return Waiting(about, int(news["version"]) if news is not None else 0)
