"""One database per run; each test in a transaction that is rolled back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from signalbox_common.db import Database
from signalbox_common.settings import OwnerSettings
from tests.support.servers import TestServers
from tests.support.usecases import Scene


@pytest.fixture(scope="session")
def database(servers: TestServers) -> Iterator[str]:
    with asyncio.Runner() as runner:
        fresh = servers.fresh_database()
        yield runner.run(fresh.__aenter__())
        runner.run(fresh.__aexit__(None, None, None))


@asynccontextmanager
async def _scene(servers: TestServers, database: str, service: str) -> AsyncIterator[Scene]:
    """As the role of the service."""
    url = SecretStr(servers.credentials.database_url(servers.endpoints, service, database))
    opened = Database(OwnerSettings(service=service, database_url=url))
    try:
        async with opened.trial() as transaction:
            yield Scene(service, transaction)
    finally:
        await opened.close()


@pytest.fixture
async def auth(servers: TestServers, database: str) -> AsyncIterator[Scene]:
    async with _scene(servers, database, "auth") as scene:
        yield scene


@pytest.fixture
async def catalog(servers: TestServers, database: str) -> AsyncIterator[Scene]:
    async with _scene(servers, database, "catalog") as scene:
        yield scene
