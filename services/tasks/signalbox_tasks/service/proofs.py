"""Proof that somebody has asked for a run: kept as a secret until it ends."""

from dataclasses import replace

from signalbox_common.bus import Call
from signalbox_common.contracts.tasks import StepName
from signalbox_common.secrets import SecretStore
from signalbox_tasks.domain import Run
from signalbox_tasks.replies import secrets_of

PROOF, DELEGATION = "proof", "delegation"


class Proofs:
    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets

    async def kept(self, call: Call, run: Run) -> Run:
        """Before the run refers to it; done again for the same command, it takes the place of the same.

        A run that asks nobody for anything needs none.
        """
        if StepName.AUTHORITY not in run.plan or call.grant is None or call.accepted_at is None:
            return run
        await self._secrets.put(f"{secrets_of(run.authority)}{PROOF}", call.grant.encode())
        return replace(run, proof_at=call.accepted_at)
