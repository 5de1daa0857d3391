"""Each service may do only its own part, on the bus and in the databases."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import nats
import nats.errors
import pytest
import redis.asyncio
from nats.aio.client import Client

from signalbox_common.contracts.auth import Delegate, GetGrant, GetNamespaces
from signalbox_common.contracts.streams import PACKAGE_BUCKET
from signalbox_common.programs import OWNERS, SERVICES
from tests.support.installation import Installation


class Watched:
    """A client of which we hear what the server refuses."""

    def __init__(self, client: Client, complaints: list[str]) -> None:
        self.client = client
        self._complaints = complaints

    async def refuses_publish(self, subject: str) -> bool:
        await self.client.publish(subject, b"{}")
        return await self._complained(f'publish to "{subject}"')

    async def refuses_subscribe(self, subject: str) -> bool:
        await self.client.subscribe(subject)
        return await self._complained(f'subscription to "{subject}"')

    async def _complained(self, about: str) -> bool:
        """The server complains before it answers the ping; the callback may run a little later."""
        await self.client.flush()
        await self.client.flush()
        return any(about.lower() in complaint for complaint in self._complaints)


@asynccontextmanager
async def watched(installation: Installation, user: str) -> AsyncIterator[Watched]:
    complaints: list[str] = []

    async def on_error(error: Exception) -> None:
        complaints.append(str(error).lower())

    async with installation.nats(user, error_cb=on_error) as client:
        yield Watched(client, complaints)


@pytest.mark.parametrize("service", OWNERS)
async def test_an_owner_publishes_only_its_own(installation: Installation, service: str) -> None:
    other = next(name for name in OWNERS if name != service)
    project = "0192f1a0-0000-7000-8000-000000000000"
    async with watched(installation, service) as client:
        for subject in (
            f"evt.{project}.{other}.thing.done",
            f"cmd.{other}.v1.redrive",
            f"cmd.{service}.v1.redrive",
            f"dlq.cmd.{other}.v1.x",
            f"qry.{other}.v1.health",
            "_INBOX.gateway.abc",
            "$JS.API.STREAM.DELETE.EVENTS",
            "$JS.API.STREAM.PURGE.EVENTS",
            "$JS.API.STREAM.MSG.GET.DEAD_LETTERS",
            "$JS.API.DIRECT.GET.DEAD_LETTERS",
            f"$JS.API.CONSUMER.CREATE.DEAD_LETTERS.{service}-redrive.dlq.cmd.{service}.>",
            f"$JS.API.DIRECT.GET.DEAD_LETTERS_{other}",
            f"$JS.API.CONSUMER.MSG.NEXT.COMMANDS.{other}-v1-redrive",
        ):
            assert await client.refuses_publish(subject), subject
        assert not await client.refuses_publish(f"evt.{project}.{service}.thing.done")
        assert await client.refuses_publish("$KV.grant-keys.kx") is (service != "auth")


@pytest.mark.parametrize("service", OWNERS)
async def test_an_owner_hears_only_its_own(installation: Installation, service: str) -> None:
    other = next(name for name in OWNERS if name != service)
    async with watched(installation, service) as client:
        for subject in (
            ">",
            "_INBOX.>",
            "_INBOX.gateway.>",
            f"_INBOX.{other}.>",
            f"qry.{other}.>",
            f"ask.{other}.>",
            "ask.>",
            "cmd.>",
            "evt.>",
            "reply.>",
            "$JS.>",
        ):
            assert await client.refuses_subscribe(subject), subject


async def test_the_gateway_redrives_nothing_and_hears_no_requests(installation: Installation) -> None:
    async with watched(installation, "gateway") as client:
        for subject in ("cmd.auth.v1.redrive", "evt._.auth.user.registered", "dlq.x", "$KV.grant-keys.kx"):
            assert await client.refuses_publish(subject), subject
        for subject in ("ask.>", "qry.>", "_INBOX.auth.>", ">"):
            assert await client.refuses_subscribe(subject), subject


async def test_packages_are_for_the_gateway_and_the_catalog(installation: Installation) -> None:
    bucket, stream = PACKAGE_BUCKET, f"OBJ_{PACKAGE_BUCKET}"
    subjects = (
        f"$O.{bucket}.C.chunk",
        f"$O.{bucket}.M.name",
        f"$JS.API.DIRECT.GET.{stream}",
        f"streams.STREAM.PURGE.{stream}",
    )
    for service in SERVICES:
        async with watched(installation, service) as client:
            for subject in subjects:
                refused = await client.refuses_publish(subject)
                assert refused is (service not in ("gateway", "catalog")), (service, subject)
            for subject in (
                f"$JS.API.STREAM.DELETE.{stream}",
                f"$JS.API.STREAM.UPDATE.{stream}",
                f"$JS.API.STREAM.MSG.DELETE.{stream}",
                f"$JS.API.STREAM.INFO.{stream}",
                f"$JS.API.CONSUMER.CREATE.{stream}",
                f"$JS.API.CONSUMER.CREATE.{stream}.x.$O.{bucket}.C.>",
            ):
                assert await client.refuses_publish(subject), (service, subject)
            assert await client.refuses_subscribe(f"$O.{bucket}.>")


async def test_the_gateway_hears_of_resources_and_of_no_other_events(installation: Installation) -> None:
    async with watched(installation, "gateway") as client:
        assert not await client.refuses_subscribe("live.evt.*.catalog.resource.*")
        for subject in (
            "live.evt.>",
            "evt.>",
            "evt.*.catalog.>",
            "evt._.catalog.audit.recorded",
            "evt.*.auth.project.*",
        ):
            assert await client.refuses_subscribe(subject), subject
        assert await client.refuses_publish("evt._.catalog.resource.created")


async def test_services_ask_each_other_only_what_the_contracts_say(installation: Installation) -> None:
    for service in OWNERS:
        async with watched(installation, service) as client:
            for subject, allowed in (
                (GetNamespaces.subject, ("catalog",)),
                (Delegate.subject, ("tasks", "sandbox", "git")),
                (GetGrant.subject, ()),
                ("qry.catalog.v1.get", ()),
                ("ask.catalog.v1.apply", ()),
                ("cmd.catalog.v1.delete", ()),
                ("ask.catalog.v1.rotate-secrets", ()),
            ):
                assert await client.refuses_publish(subject) is (service not in allowed), (service, subject)
    async with watched(installation, "gateway") as client:
        assert await client.refuses_publish("ask.catalog.v1.rotate-secrets")


async def test_streams_cannot_be_purged_or_rolled_up_even_by_the_administrator(
    installation: Installation,
) -> None:
    async with installation.nats() as client:
        jetstream = client.jetstream()
        await jetstream.publish("evt._.auth.user.registered", b"{}")
        purge = await client.request("$JS.API.STREAM.PURGE.EVENTS", b"")
        assert "error" in json.loads(purge.data)
        delete = await client.request("$JS.API.STREAM.MSG.DELETE.EVENTS", b'{"seq": 1}')
        assert "error" in json.loads(delete.data)
        rollup = await client.request(
            "evt._.auth.user.registered", b"{}", headers={"Nats-Rollup": "all", "Nats-Msg-Id": "r"}
        )
        assert "error" in json.loads(rollup.data)
        schedule = await client.request(
            "evt._.auth.user.registered",
            b"{}",
            headers={"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "evt.x.y.z.z"},
        )
        assert "error" in json.loads(schedule.data)


@pytest.mark.parametrize("service", OWNERS)
async def test_a_database_role_reaches_its_own_schema_only(installation: Installation, service: str) -> None:
    other = next(name for name in OWNERS if name != service)
    url = installation.servers.credentials.database_url(
        installation.servers.endpoints, service, installation.database
    )
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval(f"select count(*) from {service}.outbox") == 0
        for statement in (
            f"select * from {other}.outbox",
            f"create table {service}.mine (id int)",
            "create table public.mine (id int)",
            f"drop table {service}.outbox",
            f"set role signalbox_{service}_owner",
            f"set role signalbox_{other}",
            "copy (select 1) to program 'true'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_redis_users_keep_to_their_own_names(installation: Installation) -> None:
    credentials, endpoints = installation.servers.credentials, installation.servers.endpoints
    client = redis.asyncio.Redis.from_url(credentials.redis_url(endpoints, "tasks"))
    try:
        assert await client.set("tasks:x", "1")
        for command in (("GET", "auth:x"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's own
    finally:
        await client.aclose()


async def test_nobody_comes_in_without_a_password(installation: Installation) -> None:
    endpoints = installation.servers.endpoints
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://admin:wrong@{endpoints.postgres}/postgres")
    anonymous = redis.asyncio.Redis.from_url(f"redis://{endpoints.redis}")
    with pytest.raises(redis.exceptions.AuthenticationError):
        await anonymous.ping()
    await anonymous.aclose()
    stranger = Client()
    with pytest.raises(nats.errors.Error):
        await stranger.connect(f"nats://{endpoints.nats}", allow_reconnect=False, error_cb=_ignore)
    await stranger.close()


async def _ignore(_error: Exception) -> None:
    return None
