"""What is signed with on behalf of something that has a row: stored before the row says that it counts."""

import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from signalbox_common.bus import Call
from signalbox_common.contracts.base import Request
from signalbox_common.db import Transaction
from signalbox_common.outcomes import Outcome, R
from signalbox_common.secrets import SecretNotFound, SecretStore

ON_THE_WAY = timedelta(hours=1)
"""How long a row that is not there may yet come."""

IsUsed = Callable[[uuid.UUID, uuid.UUID], Awaitable[bool]]
"""Whether a holder signs with that secret of its own."""


class SigningSecrets:
    """Each has a name of its own, so that the one before counts until another one has been committed."""

    def __init__(self, secrets: SecretStore, kind: str, is_used: IsUsed) -> None:
        self._secrets = secrets
        self._kind = kind
        self._is_used = is_used

    async def keyed(
        self, call: Call, holder: uuid.UUID, text: str, work: Callable[[Call, uuid.UUID], Awaitable[R]]
    ) -> Outcome[R]:
        """Does that with the id of a new secret, in the transaction of this request; holds no other one."""
        secret = uuid.uuid4()
        answered = await call.replayed()
        if answered is None:
            await self._secrets.put(self._name(holder, secret), text.encode())

        async def with_it(opened: Call, _request: Request[R]) -> R:
            return await work(opened, secret)

        outcome: Outcome[R] = await call.take_effect(with_it, call.asked.request)
        if answered is None and (outcome.failed or outcome.replayed):
            await self._secrets.delete(self._name(holder, secret))
        return outcome

    async def get(self, holder: uuid.UUID, secret: uuid.UUID) -> bytes:
        """Raises SecretNotFound where it is gone."""
        return (await self._secrets.get(self._name(holder, secret))).value

    def forget_after(self, transaction: Transaction, holder: uuid.UUID, *secrets: uuid.UUID) -> None:
        """These; without any, all of the holder."""

        async def remove() -> None:
            names = [self._name(holder, each) for each in secrets]
            for name in names or await self._secrets.names(f"{self._kind}/{holder.hex}/"):
                await self._secrets.delete(name)

        transaction.after_commit.append(remove)

    async def forget(self) -> None:
        """Those that nothing is signed with: of what came to nothing, is gone, or has newer ones."""
        for name in await self._secrets.names(f"{self._kind}/"):
            _, holder, secret = name.split("/")
            if await self._is_used(uuid.UUID(holder), uuid.UUID(secret)):
                continue
            with suppress(SecretNotFound):
                age = datetime.now(UTC) - (await self._secrets.get(name)).created_at
                if age > ON_THE_WAY:
                    await self._secrets.delete(name)

    def _name(self, holder: uuid.UUID, secret: uuid.UUID) -> str:
        return f"{self._kind}/{holder.hex}/{secret.hex}"
