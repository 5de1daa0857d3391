"""What became of a command of which nobody has told anything."""

from datetime import UTC, datetime

from signalbox_common.bus import StoredCommand
from signalbox_common.contracts.operations import OperationStatus
from signalbox_tasks.work.turn import StepFailed, Turn


async def refused(turn: Turn, command: StoredCommand, code: str) -> None:
    """Raises StepFailed where its owner has refused it; sends it again where nobody has it."""
    known = await turn.peers.report(command, turn.run.started_at or datetime.now(UTC))
    if known.status is OperationStatus.FAILED and known.error is not None:
        raise StepFailed(known.error.code or code, known.error.detail)
    if known.status is OperationStatus.NOT_ACCEPTED:
        await turn.job.keep()
        await turn.peers.submit(command)
