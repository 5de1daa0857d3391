"""What lets a schedule or a trigger act for whoever has said last what it does."""

import uuid
from datetime import datetime
from typing import Any

from signalbox_common.bus import Call
from signalbox_common.db import Transaction
from signalbox_common.work import Worker
from signalbox_tasks.service.proofs import Proofs

AUTHORITY = "authority"
"""The work on a right to act for somebody, from when it is taken until nothing needs it; its key is that of
the authority."""


class Authorities:
    """Whoever changes a holder locks the work on its authority first, then itself, and then its project."""

    def __init__(self, worker: Worker, proofs: Proofs) -> None:
        self._worker = worker
        self._proofs = proofs

    async def lock(self, transaction: Transaction, authority: uuid.UUID) -> None:
        await self._worker.table.called(transaction, AUTHORITY, str(authority))

    async def keep(self, call: Call, authority: uuid.UUID) -> None:
        """The proof comes last: where something stands against the command, none is left of it."""
        project = call.principal.project()
        await self._worker.put(call.transaction, AUTHORITY, str(authority), project=project)
        await self._proofs.keep(call, authority)

    async def let_go(
        self, transaction: Transaction, authority: uuid.UUID, project: uuid.UUID | None = None
    ) -> None:
        """It ends with the last run that acts under it."""
        await self._worker.put(transaction, AUTHORITY, str(authority), project=project, soonest=True)


def given(call: Call, now: datetime) -> dict[str, Any]:
    """By whoever asks: it acts for them."""
    return {
        "authority": uuid.uuid5(call.command_id, AUTHORITY),
        "proof_at": call.accepted_at or now,
        "delegated": False,
        "acts_for": call.principal.user_id,
        "acts_for_name": call.principal.username,
    }
