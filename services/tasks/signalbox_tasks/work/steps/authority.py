"""The right to act for whoever asked for the run, taken when it is needed first."""

import hashlib
import math
import secrets as random

from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts.auth import Delegate
from signalbox_common.errors import SignalboxError
from signalbox_common.secrets import SecretNotFound, SecretStore
from signalbox_tasks.replies import secrets_of
from signalbox_tasks.service.proofs import DELEGATION, PROOF
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Turn

VERBS = (
    *("catalog.resolve", "catalog.reveal"),
    *("git.prepare", "git.get-checkout", "git.put-changes", "git.get-changes", "git.get-tree"),
    *("git.deliver", "git.get-delivery", "git.put-bundle", "git.diff", "git.locate"),
    *("sandbox.create", "sandbox.get", "sandbox.locate", "sandbox.execute", "sandbox.files"),
    *("sandbox.put-tree", "sandbox.export", "sandbox.import", "sandbox.pause", "sandbox.resume"),
    *("sandbox.destroy", "sandbox.set-deadline"),
)
_HOURS, _MOST_HOURS = 2, 24 * 31
"""Beyond the time of the run, for what comes after it; and what auth gives at most."""
_DONE_BEFORE = frozenset({"already_done", "delegation_exists"})


class AuthorityStep:
    def __init__(self, bus: Bus, secrets: SecretStore) -> None:
        self._bus = bus
        self._secrets = secrets

    async def do(self, turn: Turn) -> Outcome:
        """What stands for it is made and stored here, so that no answer can be lost."""
        run = turn.run
        name = f"{secrets_of(run.authority)}{DELEGATION}"
        try:
            proof = (await self._secrets.get(f"{secrets_of(run.authority)}{PROOF}")).value.decode()
        except SecretNotFound:
            raise StepFailed("not_delegated", "There is no proof any more of who has asked for it.") from None
        try:
            delegation = (await self._secrets.get(name)).value
        except SecretNotFound:
            delegation = random.token_urlsafe(32).encode()
            await self._secrets.put(name, delegation)
        await turn.job.keep()
        ask = Delegate(
            service="tasks",
            proof=SecretStr(proof),
            accepted_at=run.proof_at,
            hash=hashlib.sha256(delegation).hexdigest(),
            run=str(run.authority),
            verbs=VERBS,
            hours=min(_MOST_HOURS, math.ceil(turn.task.spec.timeout / 3600) + _HOURS),
        )
        try:
            await self._bus.ask(ask, Envelope(turn.id_of("delegate"), "delegate", operation=str(run.id)))
        except SignalboxError as error:
            if not error.final:
                raise
            if error.code not in _DONE_BEFORE:
                raise StepFailed("not_delegated", error.detail) from error
        return Done()
