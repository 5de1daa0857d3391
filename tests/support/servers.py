"""The real servers that tests run against: ours from wheels, or containers when told so.

`SIGNALBOX_TEST_SERVERS=docker` takes PostgreSQL, Redis and NATS from testcontainers; everything above
them stays the same.
"""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import nats
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import PortWaitStrategy

from signalbox_cli.provision import database as database_provision
from signalbox_cli.provision import streams as streams_provision
from signalbox_cli.provision.credentials import (
    Credentials,
    Endpoints,
    nats_config,
    postgres_admin_url,
    redis_acl,
)
from signalbox_cli.provision.permissions import ADMIN
from signalbox_cli.stack.servers import Nats, Postgres, Valkey
from signalbox_common.entries import RootKey
from signalbox_common.programs import PROGRAMS
from tests.support import lab
from tests.support.processes import Running

TEMPLATE = "signalbox_template"


def new_credentials() -> Credentials:
    users = (ADMIN, "operator", *PROGRAMS)
    return Credentials(
        secret_key=secrets.token_urlsafe(32),
        admin_password=secrets.token_urlsafe(15),
        root_key=RootKey.new().seed,
        passwords={s: {u: secrets.token_urlsafe(16) for u in users} for s in ("postgres", "redis", "nats")},
    )


@dataclass
class TestServers:
    """PostgreSQL, Valkey and NATS on free ports."""

    __test__ = False

    folder: Path
    credentials: Credentials
    endpoints: Endpoints
    processes: dict[str, Running] = field(default_factory=dict)
    _postgres: Postgres | None = None

    @property
    def postgres_admin_url(self) -> str:
        return postgres_admin_url(self.credentials, self.endpoints.postgres)

    @property
    def nats_admin_url(self) -> str:
        return self.credentials.nats_url(self.endpoints, ADMIN)

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes.values()))
        if self._postgres is not None:
            self._postgres.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- isolation ---------------------------------------------------------------------------------

    async def fresh_streams(self) -> None:
        """Every installation begins with empty streams."""
        client = await nats.connect(self.nats_admin_url)
        try:
            jetstream = client.jetstream()
            there = await jetstream.streams_info()
            await asyncio.gather(*(jetstream.delete_stream(str(info.config.name)) for info in there))
        finally:
            await client.close()
            await asyncio.sleep(0)  # nats-py does not wait until its transport is closed
        await streams_provision.provision(self.nats_admin_url, lab.TOPOLOGY)

    async def make_template(self) -> None:
        await database_provision.provision(self.postgres_admin_url, self.credentials, TEMPLATE)

    async def reset_passwords(self) -> None:
        """After somebody else has provisioned here, too."""
        await self.make_template()
        await self._admin("drop database if exists signalbox with (force)")

    @asynccontextmanager
    async def fresh_database(self, template: str = TEMPLATE) -> AsyncIterator[str]:
        """A database that nobody else uses: migrated, or as that template is."""
        name = f"test_{secrets.token_hex(6)}"
        await self._admin(f"create database {name} encoding 'UTF8' template {template}")
        try:
            yield name
        finally:
            await self._admin(f"drop database {name} with (force)")

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres_admin_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def beside(self, folder: Path) -> "TestServers":
        """A Redis and a NATS of their own: installations beside each other share PostgreSQL only."""
        folder.chmod(0o755)
        own: list[Any] = [Valkey(folder / "valkey", self.credentials), _nats(folder, self.credentials)]
        processes = await _started(folder, own, durable=False)
        redis, nats_ = (f"127.0.0.1:{server.port}" for server in own)
        endpoints = Endpoints(postgres=self.endpoints.postgres, redis=redis, nats=nats_)
        return TestServers(folder, self.credentials, endpoints, processes)


async def start_postgres(folder: Path) -> TestServers:
    """For a whole run: it is never killed, so nothing waits for the disk."""
    credentials = new_credentials()
    folder.chmod(0o755)
    postgres = Postgres(folder / "postgres", credentials)
    processes = await _started(folder, [postgres], durable=False)
    endpoints = Endpoints(postgres=f"127.0.0.1:{postgres.port}", redis="", nats="")
    servers = TestServers(folder, credentials, endpoints, processes, postgres)
    await servers.make_template()
    return servers


async def start_native(folder: Path) -> TestServers:
    """All three, as they are when somebody uses them: they are going to be killed."""
    credentials = new_credentials()
    folder.chmod(0o755)
    own: list[Any] = [
        Postgres(folder / "postgres", credentials),
        Valkey(folder / "valkey", credentials),
        _nats(folder, credentials),
    ]
    processes = await _started(folder, own, durable=True)
    endpoints = Endpoints(
        **{name: f"127.0.0.1:{s.port}" for name, s in zip(("postgres", "redis", "nats"), own, strict=True)}
    )
    servers = TestServers(folder, credentials, endpoints, processes, own[0])
    await servers.make_template()
    return servers


def _nats(folder: Path, credentials: Credentials) -> Nats:
    return Nats(folder / "nats", credentials, topology=lab.TOPOLOGY)


async def _started(folder: Path, servers: Sequence[Any], *, durable: bool) -> dict[str, Running]:
    processes = {}
    for server in servers:
        await asyncio.to_thread(server.prepare)
        program = server.program()
        if not durable and program.name == "postgres":
            program.argv.extend(["-c", "fsync=off"])
        elif not durable and program.name == "nats":
            config = Path(program.argv[-1])
            config.write_text(config.read_text().replace("sync_interval: always", "sync_interval: 2m"))
        processes[program.name] = Running(program, folder / f"{program.name}.log")
    try:
        await asyncio.gather(*(process.start() for process in processes.values()))
    except BaseException:
        for process in processes.values():
            await process.stop()
        raise
    return processes


@contextlib.contextmanager
def docker_servers(folder: Path) -> Any:
    """The same servers as containers; the images are those of the compose file."""
    credentials = new_credentials()
    (folder / "users.acl").write_text(redis_acl(credentials))
    (folder / "nats.conf").write_text(
        nats_config(credentials, listen="0.0.0.0:4222", store="/data", topology=lab.TOPOLOGY)
    )
    for path in folder.iterdir():
        path.chmod(0o644)
    postgres = (
        DockerContainer("postgres:18-bookworm")
        .with_env("POSTGRES_USER", ADMIN)
        .with_env("POSTGRES_PASSWORD", credentials.passwords["postgres"][ADMIN])
        .with_command("-c max_connections=200")
        .with_exposed_ports(5432)
        .waiting_for(PortWaitStrategy(5432))
    )
    redis = (
        DockerContainer("redis:8-bookworm")
        .with_volume_mapping(str(folder / "users.acl"), "/users.acl", "ro")
        .with_command("redis-server --aclfile /users.acl --maxmemory-policy volatile-lru")
        .with_exposed_ports(6379)
        .waiting_for(PortWaitStrategy(6379))
    )
    nats_server = (
        DockerContainer("nats:2.15-alpine")
        .with_volume_mapping(str(folder / "nats.conf"), "/etc/nats/nats-server.conf", "ro")
        .with_exposed_ports(4222)
        .waiting_for(PortWaitStrategy(4222))
    )
    with postgres, redis, nats_server:
        host = postgres.get_container_host_ip()
        yield TestServers(
            folder,
            credentials,
            Endpoints(
                postgres=f"{host}:{postgres.get_exposed_port(5432)}",
                redis=f"{host}:{redis.get_exposed_port(6379)}",
                nats=f"{host}:{nats_server.get_exposed_port(4222)}",
            ),
        )
