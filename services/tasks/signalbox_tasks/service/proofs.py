"""Proof that somebody has asked for a run or a schedule: kept as a secret until that ends."""

import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from signalbox_common.bus import Call
from signalbox_common.contracts.tasks import StepName
from signalbox_common.db import Database
from signalbox_common.errors import AlreadyDone, SignalboxError
from signalbox_common.secrets import SecretNotFound, SecretStore
from signalbox_tasks.domain import Run
from signalbox_tasks.replies import secrets_of
from signalbox_tasks.store import authorities, runs

PROOF, DELEGATION = "proof", "delegation"
_ON_THE_WAY = timedelta(hours=1)
"""How long a run that is not there may yet come."""


class Proofs:
    def __init__(self, database: Database, secrets: SecretStore) -> None:
        self._database = database
        self._secrets = secrets

    async def forget(self) -> None:
        """Those of what came to nothing: its commands were refused, or lost with their process."""
        for name in await self._secrets.names("runs/"):
            run = uuid.UUID(name.split("/")[1])
            async with self._database.reading() as connection:
                is_there = await runs.place(connection, run) is not None
                is_there = is_there or await authorities.is_in_use(connection, run)
            if is_there:
                continue
            with suppress(SecretNotFound):
                age = datetime.now(UTC) - (await self._secrets.get(name)).created_at
                if age > _ON_THE_WAY:
                    await self._secrets.delete(name)

    async def kept(self, call: Call, run: Run) -> Run:
        """Before the run refers to it; done again for the same command, it takes the place of the same.

        A run that asks nobody for anything needs none. One that is there already has had its own: what is
        kept for it now, nobody would ever take away.
        """
        if StepName.AUTHORITY not in run.plan or call.grant is None or call.accepted_at is None:
            return run
        if await runs.place(call.transaction.connection, run.id) is not None:
            raise AlreadyDone
        await self.keep(call, run.authority)
        return replace(run, proof_at=call.accepted_at)

    async def keep(self, call: Call, authority: uuid.UUID) -> None:
        if call.grant is None:
            raise SignalboxError("a command comes with a grant")
        await self._secrets.put(f"{secrets_of(authority)}{PROOF}", call.grant.encode())
