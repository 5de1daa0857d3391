"""Connections with the operator's credentials, which lie under the home."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import nats
from nats.aio.client import Client

from signalbox_cli.provision.credentials import DATABASE, Credentials
from signalbox_cli.provision.permissions import ADMIN, OPERATOR
from signalbox_cli.stack.home import Home

INBOX = "_INBOX.operator"


class NoStack(Exception):
    """There are no credentials under this home."""


class Operator:
    """Looks into a stack from outside."""

    def __init__(self, home: Home) -> None:
        self._folder = home.credentials
        self._secrets = home.credentials / "secrets.json"
        if not self._secrets.exists():
            raise NoStack(f"no stack was ever started in {home.path}")

    def url_of(self, server: str, user: str, path: str = "") -> str:
        """Where the services find a server, but for another of its users."""
        file = {"nats": "nats-url", "postgres": "database-url"}[server]
        where = urlsplit((self._folder / "auth" / file).read_text(encoding="utf-8"))
        password = self._credentials.passwords[server][user]
        return f"{where.scheme}://{user}:{password}@{where.hostname}:{where.port}{path}"

    @property
    def _credentials(self) -> Credentials:
        return Credentials(**json.loads(self._secrets.read_text(encoding="utf-8")))

    @asynccontextmanager
    async def nats(self) -> AsyncIterator[Client]:
        client = await nats.connect(
            self.url_of("nats", OPERATOR),
            name="signalbox-operator",
            inbox_prefix=INBOX,
            allow_reconnect=False,
            connect_timeout=1,
            error_cb=_silent,
        )
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        url = self.url_of("postgres", ADMIN, f"/{DATABASE}")
        connection = await asyncpg.connect(url, timeout=1)
        try:
            yield connection
        finally:
            await connection.close(timeout=1)


async def _silent(_error: Exception) -> None:
    """Errors reach the caller as exceptions; nothing is printed beside them."""


def read_url(home: Home) -> str:
    path: Path = home.url_file
    return path.read_text(encoding="utf-8").strip()
