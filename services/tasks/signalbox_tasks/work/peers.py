"""The other services, as a run asks them: under the delegation of whoever asked for it."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope, StoredCommand
from signalbox_common.contracts import git, sandbox
from signalbox_common.contracts.auth import DelegatedGrant
from signalbox_common.contracts.base import Ask, Query, Reply
from signalbox_common.contracts.operations import GetOperation, OperationReport
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.secrets import SecretNotFound, SecretStore
from signalbox_tasks.domain import Run
from signalbox_tasks.replies import secrets_of
from signalbox_tasks.service.proofs import DELEGATION

R = TypeVar("R", bound=Reply)
T = TypeVar("T")
GRANT_KEPT = 45.0
"""Seconds, of the minute for which it is good."""
_TAKEN_BACK = frozenset({"grant_revoked", "key_retired", "token_expired"})
_KNOWN = 10_000


class AuthorityEnded(Exception):
    """Whoever asked for the run may not do this any more."""


class Grants:
    """Of all runs in this process."""

    def __init__(self, bus: Bus, secrets: SecretStore) -> None:
        self._bus = bus
        self._secrets = secrets
        self._kept: dict[tuple[uuid.UUID, str], tuple[str, float]] = {}

    async def of(self, authority: uuid.UUID, audience: str) -> str:
        """Raises AuthorityEnded."""
        known = self._kept.get((authority, audience))
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        asked_at = time.monotonic()
        try:
            secret = await self._secrets.get(f"{secrets_of(authority)}{DELEGATION}")
        except SecretNotFound:
            raise AuthorityEnded from None
        wanted = DelegatedGrant(delegation=SecretStr(secret.value.decode()), audience=audience)
        try:
            found = (await self._bus.query(wanted)).value().grant
        except SignalboxError as error:
            if error.code == "delegation_ended":
                raise AuthorityEnded from error
            raise
        if len(self._kept) >= _KNOWN:
            self._kept.clear()
        self._kept[authority, audience] = (found, asked_at + GRANT_KEPT)
        return found

    def forget(self, authority: uuid.UUID) -> None:
        for key in [key for key in self._kept if key[0] == authority]:
            del self._kept[key]


@dataclass
class Peers:
    """Of one run, for the worker that has it."""

    bus: Bus
    grants: Grants
    run: Run
    fence: int
    _urls: dict[uuid.UUID, str] = field(default_factory=dict)

    async def query(self, query: Query[R]) -> R:
        async def asked(grant: str) -> R:
            return (await self.bus.query(query, grant=grant)).value()

        return await self._granted(query.owner(), asked)

    async def ask(self, ask: Ask[R], command: uuid.UUID) -> R:
        """Under an id of its own, so that it is done once however often it is asked."""
        stored = _digest(ask)

        async def asked(grant: str) -> R:
            sending = Envelope(command, stored, grant, operation=str(self.run.id))
            return (await self.bus.ask(ask, sending)).value()

        return await self._granted(ask.owner(), asked)

    async def submit(self, command: StoredCommand) -> None:
        owner = command.subject.split(".")[1]
        await self.bus.submit(
            command, grant=await self.grants.of(self.run.authority, owner), operation=str(self.run.id)
        )

    async def report(self, command: StoredCommand, sent_at: Any) -> OperationReport:
        """What its owner knows of a command that nobody has told of."""
        question = GetOperation(
            command_id=command.command_id, command=command.subject, accepted_before=sent_at
        )
        return (await self.bus.query(question, service=command.subject.split(".")[1])).value()

    async def _granted(self, audience: str, send: Callable[[str], Awaitable[T]]) -> T:
        """Once more where it was taken back: there may be another one to be had, or none."""
        try:
            return await send(await self.grants.of(self.run.authority, audience))
        except SignalboxError as error:
            if error.code not in _TAKEN_BACK:
                raise
        self.grants.forget(self.run.authority)
        return await send(await self.grants.of(self.run.authority, audience))

    # -- bytes -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def sandbox(self, identifier: uuid.UUID) -> AsyncIterator[DataClient]:
        """The node of a sandbox."""
        found = await self.query(sandbox.LocateSandbox(sandbox=identifier))
        async with self._client("sandbox", found.url) as client:
            yield client

    @asynccontextmanager
    async def git(self) -> AsyncIterator[DataClient]:
        found = await self.query(git.LocateGit())
        async with self._client("git", found.url) as client:
            yield client

    @asynccontextmanager
    async def _client(self, audience: str, url: str) -> AsyncIterator[DataClient]:
        async def grant() -> str:
            return await self.grants.of(self.run.authority, audience)

        async with DataClient(url, grant, fence=self.fence) as client:
            try:
                yield client
            except SignalboxError as error:
                if error.code not in _TAKEN_BACK:
                    raise
                self.grants.forget(self.run.authority)
                raise Unavailable from error


def _digest(ask: Ask[Any]) -> str:
    """Secrets are left out: what has one owner and one run is the same request."""
    return f"{ask.subject}"
