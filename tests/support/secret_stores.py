"""A secret store, as tests meddle with it."""

from dataclasses import dataclass
from pathlib import Path

from signalbox_common.db import Database
from signalbox_common.secrets import (
    KeyFile,
    LocalSecrets,
)
from tests.support.installation import Installation

VALUE = b"ghp_NobodyMayEverReadThis0123456789"


@dataclass
class Local:
    """The local store, as any number of processes use it."""

    installation: Installation
    database: Database
    path: Path

    @property
    def secret_key(self) -> str:
        return self.installation.servers.credentials.secret_key

    def keys(self) -> KeyFile:
        return KeyFile(self.path, self.secret_key)

    def open(self, keys: KeyFile | None = None) -> LocalSecrets:
        return LocalSecrets(self.database, keys or self.keys())

    async def tamper(self, statement: str, *given: object) -> None:
        async with self.installation.sql() as connection:
            assert (await connection.execute(statement, *given)).startswith("UPDATE ")

    async def keks(self) -> set[str]:
        async with self.installation.sql() as connection:
            return {row[0] for row in await connection.fetch("select distinct kek from tasks.secrets")}
