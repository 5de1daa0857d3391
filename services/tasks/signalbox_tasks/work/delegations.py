"""The right to act for somebody who is not there: taken with a proof, renewed, and put away."""

import hashlib
import secrets as random
import uuid
from datetime import datetime

from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts.auth import Delegate, EndDelegation, RenewDelegation
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.secrets import SecretNotFound, SecretStore
from signalbox_common.work import Job
from signalbox_tasks.replies import secrets_of
from signalbox_tasks.service.proofs import DELEGATION, PROOF

VERBS = (
    *("catalog.resolve", "catalog.reveal"),
    *("git.prepare", "git.get-checkout", "git.put-changes", "git.get-changes", "git.get-tree"),
    *("git.deliver", "git.get-delivery", "git.put-bundle", "git.diff", "git.locate"),
    *("sandbox.create", "sandbox.get", "sandbox.locate", "sandbox.execute", "sandbox.files"),
    *("sandbox.put-tree", "sandbox.export", "sandbox.import", "sandbox.pause", "sandbox.resume"),
    *("sandbox.destroy", "sandbox.set-deadline"),
)
MOST_HOURS = 24 * 31
"""What auth gives at a time."""
_DONE_BEFORE = frozenset({"already_done", "delegation_exists"})


class NotDelegated(Exception):
    """Whoever it was taken from may not do this here, or not any more."""


class Delegations:
    def __init__(self, bus: Bus, secrets: SecretStore) -> None:
        self._bus = bus
        self._secrets = secrets

    async def take(
        self,
        job: Job,
        authority: uuid.UUID,
        *,
        command: uuid.UUID,
        proof_at: datetime | None,
        hours: int,
        operation: str,
    ) -> None:
        """What stands for it is made and stored here, so that no answer can be lost. Raises NotDelegated."""
        name = f"{secrets_of(authority)}{DELEGATION}"
        try:
            proof = (await self._secrets.get(f"{secrets_of(authority)}{PROOF}")).value.decode()
        except SecretNotFound:
            raise NotDelegated("There is no proof any more of who has asked for it.") from None
        try:
            delegation = (await self._secrets.get(name)).value
        except SecretNotFound:
            delegation = random.token_urlsafe(32).encode()
            await self._secrets.put(name, delegation)
        await job.keep()
        ask = Delegate(
            service="tasks",
            proof=SecretStr(proof),
            accepted_at=proof_at,
            hash=hashlib.sha256(delegation).hexdigest(),
            run=str(authority),
            verbs=VERBS,
            hours=hours,
        )
        try:
            await self._bus.ask(ask, Envelope(command, "delegate", operation=operation))
        except SignalboxError as error:
            if not error.final:
                raise
            if error.code not in _DONE_BEFORE:
                raise NotDelegated(error.detail) from error

    async def renew(self, authority: uuid.UUID, hours: int) -> None:
        """For so long from now on. Raises NotDelegated."""
        delegation = await self._known(authority)
        if delegation is None:
            raise NotDelegated("What it acts under is gone.")
        try:
            ask = RenewDelegation(delegation=SecretStr(delegation), hours=hours)
            await self._bus.ask(ask, Envelope(uuid7(), "renew"))
        except SignalboxError as error:
            if not error.final:
                raise
            raise NotDelegated(error.detail) from error

    async def end(self, authority: uuid.UUID) -> None:
        """Done again, all of it is gone already."""
        delegation = await self._known(authority)
        if delegation is not None:
            try:
                await self._bus.ask(EndDelegation(delegation=SecretStr(delegation)), Envelope(uuid7(), "end"))
            except SignalboxError as error:
                if not error.final:
                    raise
        for name in (DELEGATION, PROOF):
            await self._secrets.delete(f"{secrets_of(authority)}{name}")

    async def _known(self, authority: uuid.UUID) -> str | None:
        try:
            return (await self._secrets.get(f"{secrets_of(authority)}{DELEGATION}")).value.decode()
        except SecretNotFound:
            return None
