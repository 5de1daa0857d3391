"""Credentials that come with a request: kept under a name of their own before the row that refers to it."""

import hmac
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from pydantic import SecretStr

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import derive, uuid7
from signalbox_common.secrets import SecretStore
from signalbox_git import errors
from signalbox_git.commits.signing import NoSigningKey, SigningKey
from signalbox_git.remotes.credentials import Credential
from signalbox_git.replies import secret_name
from signalbox_git.store import repositories


@dataclass(frozen=True)
class KeptKey:
    id: uuid.UUID
    public: str


class KeptCredentials:
    def __init__(self, database: Database, secrets: SecretStore, *, secret_key: str) -> None:
        self._database = database
        self._secrets = secrets
        self._key = derive(secret_key, "git/credentials")

    @asynccontextmanager
    async def stored(
        self, call: Call, given: Credential | None
    ) -> AsyncIterator[tuple[Call, uuid.UUID | None]]:
        """Gone again where nothing refers to it after all."""
        call = call.about(self._digest(given))  # a repeat with another credential is another request
        if given is None or await call.replayed() is not None:
            yield call, None
            return
        async with self.held(given) as credential:
            yield call, credential

    @asynccontextmanager
    async def stored_with_key(
        self, call: Call, given: Credential | None, key: SecretStr | None
    ) -> AsyncIterator[tuple[Call, uuid.UUID | None, KeptKey | None]]:
        """The same, and a key that commits are signed with; raises BadSigningKey."""
        signing = Credential(private_key=revealed(key)) if key is not None else None
        try:
            public = SigningKey.read(str(signing.private_key)).public if signing is not None else None
        except NoSigningKey:
            raise errors.BadSigningKey from None
        async with (
            self.stored(call, given) as (one, credential),
            self.stored(one, signing) as (both, identifier),
        ):
            known = KeptKey(identifier, public) if identifier is not None and public is not None else None
            yield both, credential, known

    @asynccontextmanager
    async def held(self, given: Credential) -> AsyncIterator[uuid.UUID]:
        credential = uuid7()
        await self._secrets.put(secret_name(credential), given.encode())
        try:
            yield credential
        finally:
            async with self._database.reading() as connection:
                if not await repositories.refers_to(connection, credential):
                    await self._secrets.delete(secret_name(credential))

    def delete_after(self, transaction: Transaction, credential: uuid.UUID | None) -> None:
        """What is lost here goes when the service tidies up."""
        if credential is not None:
            transaction.after_commit.append(partial(self._secrets.delete, secret_name(credential)))

    def _digest(self, given: Credential | None) -> str:
        encoded = given.encode() if given is not None else b""
        return hmac.digest(self._key, encoded, "sha256").hex()[:32]


def credential_of(given: contract.RepositoryCredential | None) -> Credential | None:
    if given is None:
        return None
    return Credential(revealed(given.token), given.username, revealed(given.private_key))


def revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
