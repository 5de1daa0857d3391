"""Servers once per run, an isolated installation per test."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from signalbox_gateway.refusals import UNDECLARED
from tests.support import lab  # noqa: F401 - registers the contracts of the lab before anything reads them
from tests.support.installation import Installation
from tests.support.run import new_folder
from tests.support.servers import TestServers, docker_servers, start_native


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by the tier that they live in."""
    for item in items:
        for tier in ("integration", "security", "usecases", "e2e", "chaos"):
            if f"tests/{tier}/" in item.path.as_posix():
                item.add_marker("integration" if tier in ("security", "usecases") else tier)
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))  # they share one


@pytest.fixture(autouse=True)
def _owners_keep_to_their_contracts() -> Iterator[None]:
    """Whatever an owner has answered a gateway of this process with, its contract declares."""
    UNDECLARED.clear()
    yield
    assert not UNDECLARED, f"declare it among the `refusals` of the contract: {', '.join(sorted(UNDECLARED))}"


@pytest.fixture(scope="session")
def servers() -> Iterator[TestServers]:
    folder = new_folder("servers")
    if os.environ.get("SIGNALBOX_TEST_SERVERS") == "docker":
        with docker_servers(folder) as containers:
            asyncio.run(containers.make_template())
            yield containers
        return
    native = asyncio.run(start_native(folder))
    try:
        yield native
    finally:
        asyncio.run(native.stop())


@pytest.fixture
async def installation(servers: TestServers, tmp_path: Path) -> AsyncIterator[Installation]:
    await servers.fresh_streams()
    async with servers.fresh_database() as database:
        yield Installation(servers, database, tmp_path)


@pytest.fixture
async def own_installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """Servers for one test alone: it is going to kill them."""
    folder = new_folder("own")
    servers = await start_native(folder)
    try:
        await servers.fresh_streams()
        async with servers.fresh_database() as database:
            yield Installation(servers, database, tmp_path)
    finally:
        await servers.stop()
