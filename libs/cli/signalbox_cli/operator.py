"""Connections with the operator's credentials, which lie under the home."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import nats
from nats.aio.client import Client

from signalbox_cli.stack.home import Home

INBOX = "_INBOX.operator"
ONCE: dict[str, Any] = {
    "allow_reconnect": False,
    "connect_timeout": 1,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0.1,
}
"""Options of nats-py for a connection that stands or fails now; by default it tries for two minutes."""


class NoStack(Exception):
    """There are no credentials under this home."""


@dataclass(frozen=True)
class Server:
    """Where NATS is, and who the operator is there."""

    address: str
    user: str
    password: str


class Operator:
    """Looks into a stack from outside."""

    def __init__(self, home: Home) -> None:
        self._folder = home.credentials / "operator"
        if not self._folder.exists():
            raise NoStack(f"no stack was ever started in {home.path}")

    def _url(self, file: str) -> str:
        return (self._folder / file).read_text(encoding="utf-8")

    def server(self) -> Server:
        url = urlsplit(self._url("nats-url"))
        address = f"nats://{url.netloc.rpartition('@')[2]}"
        return Server(address, unquote(url.username or ""), unquote(url.password or ""))

    @asynccontextmanager
    async def nats(self) -> AsyncIterator[Client]:
        client = await nats.connect(
            self._url("nats-url"),
            name="signalbox-operator",
            inbox_prefix=INBOX,
            **ONCE,
            error_cb=_silent,
        )
        try:
            yield client
        finally:
            await client.close()
            await asyncio.sleep(0)  # nats-py does not wait until its transport is closed

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self._url("database-url"), timeout=1)
        try:
            yield connection
        finally:
            await connection.close(timeout=1)


async def _silent(_error: Exception) -> None:
    """Errors reach the caller as exceptions; nothing is printed beside them."""


def read_url(home: Home) -> str:
    path: Path = home.url_file
    return path.read_text(encoding="utf-8").strip()
