"""What is left of a run that has ended: the right to act for its person goes."""

import uuid

from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts.auth import EndDelegation
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.secrets import SecretNotFound, SecretStore
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.replies import secrets_of
from signalbox_tasks.service.proofs import DELEGATION, PROOF
from signalbox_tasks.service.turns import CLOSE

_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)


class Closing:
    def __init__(self, bus: Bus, secrets: SecretStore) -> None:
        self._bus = bus
        self._secrets = secrets

    def register(self, worker: Worker) -> None:
        worker.on(CLOSE, retry=Retry(_PAUSES))(self.close)

    async def close(self, job: Job) -> None:
        """Done again, all of it is gone already."""
        prefix = secrets_of(uuid.UUID(job.key))
        try:
            delegation = (await self._secrets.get(f"{prefix}{DELEGATION}")).value.decode()
        except SecretNotFound:
            delegation = None
        if delegation is not None:
            try:
                ask = EndDelegation(delegation=SecretStr(delegation))
                await self._bus.ask(ask, Envelope(uuid7(), "end"))
            except SignalboxError as error:
                if not error.final:
                    raise
        for name in (DELEGATION, PROOF):
            await self._secrets.delete(f"{prefix}{name}")
