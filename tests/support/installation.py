"""One isolated installation on running servers: an empty database, empty streams, and its settings."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import nats
from fastapi import APIRouter, FastAPI
from nats.aio.client import Client
from pydantic import SecretStr

from signalbox_auth.app import build as build_auth
from signalbox_auth.settings import AuthSettings
from signalbox_catalog.app import build as build_catalog
from signalbox_catalog.settings import CatalogSettings
from signalbox_cli.provision.permissions import ADMIN
from signalbox_cli.service_request import request as operator_request
from signalbox_common.bus import Bus
from signalbox_common.contracts.base import Ask, Query, Reply
from signalbox_common.entries import RootKey
from signalbox_common.runtime import Service
from signalbox_common.settings import OwnerSettings, ServiceSettings
from signalbox_common.testing import eventually, running
from signalbox_gateway.app import build as build_gateway
from signalbox_gateway.clients import Clients
from signalbox_gateway.server import server as gateway_server
from signalbox_gateway.settings import GatewaySettings
from tests.support import bounds
from tests.support.keeping import Keeper
from tests.support.lab import LabSettings
from tests.support.servers import TestServers

S = TypeVar("S", bound=ServiceSettings)
R = TypeVar("R", bound=Reply)
T = TypeVar("T")
PASSWORD = "correct horse battery staple"
ADMIN_PASSWORD = "the administrator's own"


@dataclass
class Installation:
    servers: TestServers
    database: str
    folder: Path
    """For what its services keep in files."""
    keeper: Keeper | None = None
    """Where it is shared: with settings as they are, each of its programs runs once, until the last test."""

    @property
    def root(self) -> RootKey:
        """What auth signs the entries of its buckets with."""
        return RootKey.parse(self.servers.credentials.root_key)

    def settings(self, kind: type[S], service: str | None = None, **changes: Any) -> S:
        name = service or kind.model_fields["service"].default
        credentials, endpoints = self.servers.credentials, self.servers.endpoints
        given: dict[str, Any] = {
            "service": name,
            "nats_url": SecretStr(credentials.nats_url(endpoints, name)),
            "redis_url": SecretStr(credentials.redis_url(endpoints, name)),
            "log_level": "warning",
            "shutdown_grace": 5.0,
        }
        if issubclass(kind, OwnerSettings):
            url = credentials.database_url(endpoints, name, self.database)
            given |= {"database_url": SecretStr(url), "retry_base": 0.05}
        given["trust_anchor"] = self.root.anchor
        if kind is AuthSettings:
            given["root_key"] = SecretStr(self.root.seed)
        if "secret_key" in kind.model_fields:
            given["secret_key"] = SecretStr(credentials.secret_key_of(name))
        if kind is AuthSettings:
            given |= {"argon2_memory_kib": 64, "argon2_time": 1}  # the machine is for other things
            given |= bounds.OF_AUTH
        if kind is GatewaySettings:
            given |= bounds.OF_GATEWAYS
        if "secrets_dir" in kind.model_fields:
            given["secrets_dir"] = self.folder
        return kind(**(given | changes))

    def lab(self, service: str = "tasks", **changes: Any) -> LabSettings:
        return self.settings(LabSettings, service, **changes)

    def auth(self, **changes: Any) -> Service:
        return build_auth(self.settings(AuthSettings, **changes))

    def catalog(self, **changes: Any) -> Service:
        return build_catalog(self.settings(CatalogSettings, **changes))

    def running_auth(self, *, admin: bool = False) -> AbstractAsyncContextManager[Service]:
        """Where tests share it there is an administrator; one of its own has nobody unless it is said."""
        known = {"admin_password": ADMIN_PASSWORD} if admin or self.keeper is not None else {}
        return self.shared("auth", lambda: running(self.auth(**known)))

    def running_catalog(self) -> AbstractAsyncContextManager[Service]:
        return self.shared("catalog", lambda: running(self.catalog()))

    def gateway(self, *routes: APIRouter, **changes: Any) -> AbstractAsyncContextManager["Http"]:
        """With more routes, or other settings, it is one of the test's own."""
        own = routes or changes
        return self._gateway(*routes, **changes) if own else self.shared("gateway", self._gateway)

    def served_gateway(
        self, *routes: APIRouter, **changes: Any
    ) -> AbstractAsyncContextManager[tuple["Http", str]]:
        """Behind a real port, for what an in-process client cannot do; with its address."""
        own = routes or changes
        return self._served(*routes, **changes) if own else self.shared("served gateway", self._served)

    def shared(
        self, name: str, start: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AbstractAsyncContextManager[T]:
        return self.keeper.kept(name, start) if self.keeper is not None else start()

    def environment(self, service: str) -> dict[str, str]:
        """The same as variables, for a service in a process of its own."""
        credentials, endpoints = self.servers.credentials, self.servers.endpoints
        return {
            "NATS_URL": credentials.nats_url(endpoints, service),
            "REDIS_URL": credentials.redis_url(endpoints, service),
            "DATABASE_URL": credentials.database_url(endpoints, service, self.database),
            "SECRET_KEY": credentials.secret_key_of(service),
            "SIGNALBOX_TRUST_ANCHOR": self.root.anchor,
            "SIGNALBOX_ROOT_KEY": self.root.seed if service == "auth" else "",
            "SIGNALBOX_LOG_LEVEL": "info",
            "SIGNALBOX_SECRETS_DIR": str(self.folder),
            "SIGNALBOX_ARGON2_MEMORY_KIB": "64",
            "SIGNALBOX_ARGON2_TIME": "1",
            "SIGNALBOX_RETRY_BASE": "0.05",
            **bounds.AS_ENVIRONMENT,
        }

    @asynccontextmanager
    async def _gateway(self, *routes: APIRouter, **changes: Any) -> AsyncIterator["Http"]:
        app = build_gateway(self.settings(GatewaySettings, **changes))
        for router in routes:
            app.include_router(router)
        async with (
            lifespan(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app), base_url="http://gateway", timeout=30
            ) as client,
        ):
            yield Http(client, app.state.clients)

    @asynccontextmanager
    async def _served(self, *routes: APIRouter, **changes: Any) -> AsyncIterator[tuple["Http", str]]:
        settings = self.settings(GatewaySettings, **changes)
        app = build_gateway(settings)
        for router in routes:
            app.include_router(router)
        server = gateway_server(app, settings)
        # Named as TCP, or asyncio would leave its small delays in.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(server.serve([listener]))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            await eventually(_true(lambda: server.started), what="the gateway serves")
            await app.state.clients.bus.connection.wait_up()
            async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as client:
                yield Http(client, app.state.clients), address
        finally:
            server.should_exit = True
            await serving
            listener.close()

    @asynccontextmanager
    async def bus(self, service: str = "gateway") -> AsyncIterator[Bus]:
        bus = Bus(self.settings(LabSettings, service))
        await bus.start()
        try:
            yield bus
        finally:
            await bus.stop()

    @asynccontextmanager
    async def nats(self, user: str = ADMIN, **options: Any) -> AsyncIterator[Client]:
        url = self.servers.credentials.nats_url(self.servers.endpoints, user)
        client = await nats.connect(url, inbox_prefix=f"_INBOX.{user}", **options)
        try:
            yield client
        finally:
            await client.close()
            await asyncio.sleep(0)  # nats-py does not wait until its transport is closed

    async def operator(self, request: Ask[R] | Query[R], service: str | None = None) -> R:
        """The answer that the operator's user gets; raises the error that the service refuses with."""
        async with self.nats("operator") as client:
            return await operator_request(client, request, service=service)

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[Any]:
        """The database as the administrator sees it."""
        url = self.servers.postgres_admin_url.rsplit("/", 1)[0] + f"/{self.database}"
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()

    async def value(self, question: str) -> Any:
        async with self.sql() as connection:
            return await connection.fetchval(question)

    async def count(self, table: str, where: str = "true") -> int:
        return int(await self.value(f"select count(*) from {table} where {where}"))

    async def all_told(self, service: str) -> None:
        """Waits until what this service has committed by now is on the bus: answers may come before."""
        newest = await self.value(f"select coalesce(max(id), 0) from {service}.outbox")

        async def published() -> bool:
            return await self.count(f"{service}.outbox", f"id <= {newest}") == 0

        await eventually(published, what=f"what {service} has committed is told")

    async def messages(self, stream: str, subject: str = ">") -> list[Any]:
        """What a stream holds, oldest first."""
        found = []
        async with self.nats() as client:
            jetstream = client.jetstream()
            state = (await jetstream.stream_info(stream)).state
            if not state.messages:
                return []
            sequence = state.first_seq
            while sequence <= state.last_seq:
                with contextlib.suppress(nats.js.errors.NotFoundError):
                    message = await jetstream.get_msg(stream, sequence, direct=True)
                    if matches(subject, str(message.subject)):
                        found.append(message)
                sequence += 1
        return found


def _true(look: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def looked() -> bool:
        return look()

    return looked


def matches(pattern: str, subject: str) -> bool:
    """As NATS compares them."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return True
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


class Http:
    """A client of the gateway with the few steps that most tests begin with."""

    def __init__(self, client: httpx.AsyncClient, clients: Clients) -> None:
        self.clients = clients
        self.get = client.get
        self.post = client.post
        self.patch = client.patch
        self.put = client.put
        self.delete = client.delete
        self.request = client.request
        self.cookies = client.cookies

    async def sign_up(self, name: str | None = None, password: str = PASSWORD) -> dict[str, str]:
        """Registers somebody new; answers the headers that speak for them."""
        name = name or f"user-{uuid.uuid4().hex[:10]}"
        body = {"username": name, "email": f"{name}@example.com", "password": password}
        registered = await self.post("/api/v1/auth/register", json=body)
        assert registered.status_code == 201, registered.text
        session = await self.post("/api/v1/auth/login", json={"username": name, "password": password})
        assert session.status_code == 200, session.text
        self.cookies.clear()  # tests speak with headers, and say so where they mean cookies
        return {"Authorization": f"Bearer {session.json()['accessToken']}"}

    async def administrator(self) -> dict[str, str]:
        """The headers that speak for whoever is there from the start."""
        given = {"username": "admin", "password": ADMIN_PASSWORD}
        session = await self.post("/api/v1/auth/login", json=given)
        assert session.status_code == 200, session.text
        self.cookies.clear()
        return {"Authorization": f"Bearer {session.json()['accessToken']}"}

    async def me(self, headers: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.get("/api/v1/auth/me", headers=headers)).json()
        return answer

    async def project(self, headers: dict[str, str], name: str = "Project") -> str:
        """The id of a new one."""
        created = await self.post("/api/v1/projects", json={"name": name}, headers=headers)
        assert created.status_code == 201, created.text
        return str(created.json()["id"])

    async def join(self, owner: dict[str, str], project: str, role: str) -> dict[str, str]:
        """The headers of somebody new with that role in the project."""
        headers = await self.sign_up()
        member = {"userId": (await self.me(headers))["id"], "role": role}
        added = await self.post(f"/api/v1/projects/{project}/members", json=member, headers=owner)
        assert added.status_code == 201, added.text
        return headers


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Starts and stops the application as a server would, and waits until it reaches the bus."""
    async with app.router.lifespan_context(app):
        await app.state.clients.bus.connection.wait_up()
        yield
