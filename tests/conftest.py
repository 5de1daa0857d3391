"""Servers once per run, one installation per module; a test that needs one for itself gets a fresh one."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from signalbox_common.contracts.base import Ask
from signalbox_gateway.refusals import UNDECLARED
from tests.support import lab  # noqa: F401 - registers the contracts of the lab before anything reads them
from tests.support.installation import Installation
from tests.support.keeping import keeping
from tests.support.run import new_folder
from tests.support.servers import TestServers, docker_servers, start_native, start_postgres


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by the tier that they live in."""
    for item in items:
        for tier in ("integration", "security", "usecases", "e2e", "chaos"):
            if f"tests/{tier}/" in item.path.as_posix():
                item.add_marker("integration" if tier in ("security", "usecases") else tier)
        used = getattr(item, "fixturenames", ())
        if "stack" in used:
            item.add_marker(pytest.mark.xdist_group("stack"))  # they share one
        elif "installation" in used or "shared_installation" in used:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))  # as above


@pytest.fixture(autouse=True)
def _owners_keep_to_their_contracts() -> Iterator[None]:
    """Whatever an owner has answered a gateway of this process with, its contract declares."""
    UNDECLARED.clear()
    yield
    assert not UNDECLARED, f"declare it among the `refusals` of the contract: {', '.join(sorted(UNDECLARED))}"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is answered, and not of how soon: asks wait as long as a slow machine takes."""
    monkeypatch.setattr(Ask, "patience", 60.0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServers]:
    """PostgreSQL alone."""
    if os.environ.get("SIGNALBOX_TEST_SERVERS") == "docker":
        with docker_servers(new_folder("servers")) as containers:
            asyncio.run(containers.make_template())
            yield containers
        return
    native = asyncio.run(start_postgres(new_folder("postgres")))
    try:
        yield native
    finally:
        asyncio.run(native.stop())


@pytest.fixture(scope="session")
def servers(postgres: TestServers) -> Iterator[TestServers]:
    """Those of the installations that modules share."""
    yield from _beside(postgres)


@pytest.fixture(scope="session")
def other_servers(postgres: TestServers) -> Iterator[TestServers]:
    """Where streams can be emptied while the installation of a module goes on."""
    yield from _beside(postgres)


def _beside(postgres: TestServers) -> Iterator[TestServers]:
    if os.environ.get("SIGNALBOX_TEST_SERVERS") == "docker":
        with docker_servers(new_folder("servers")) as containers:
            asyncio.run(containers.make_template())
            yield containers
        return
    native = asyncio.run(postgres.beside(new_folder("servers")))
    try:
        yield native
    finally:
        asyncio.run(native.stop())


@pytest.fixture
def installation(request: pytest.FixtureRequest) -> Installation:
    """The module's, or a fresh one where a test is marked to need it."""
    fresh = request.node.get_closest_marker("fresh") is not None
    found: Installation = request.getfixturevalue("fresh_installation" if fresh else "shared_installation")
    return found


@pytest.fixture(scope="module")
async def shared_installation(
    servers: TestServers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Of all tests of a module, which keep apart as tenants do: each has users and projects of its own."""
    await servers.fresh_streams()
    folder = tmp_path_factory.mktemp("installation")
    async with servers.fresh_database() as database, keeping() as keeper:
        yield Installation(servers, database, folder, keeper)


@pytest.fixture
async def fresh_installation(other_servers: TestServers, tmp_path: Path) -> AsyncIterator[Installation]:
    """Of one test alone: it counts whole streams and tables, or has settings and restarts of its own."""
    await other_servers.fresh_streams()
    async with other_servers.fresh_database() as database:
        yield Installation(other_servers, database, tmp_path)


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
