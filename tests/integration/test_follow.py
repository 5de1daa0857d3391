"""Programs that follow events, over a gateway and over the bus, through everything that can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.errors import Error as NatsError

from signalbox_cli.client import open_async_client
from signalbox_cli.live import Publication, follow, follow_bus
from signalbox_cli.operator import Operator
from signalbox_cli.session import NotLoggedIn, Session, Sessions
from signalbox_cli.stack.home import Home
from signalbox_common.errors import SignalboxError
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.live import fanout, telling
from tests.support.pace import pace, soon
from tests.support.relay import relay

pytestmark = pytest.mark.fresh  # whole streams are followed and emptied


class Taken:
    """What a follower was given, read on in the background."""

    def __init__(self) -> None:
        self.seen: list[Publication] = []

    @property
    def texts(self) -> list[str]:
        return [each.event["data"]["text"] for each in self.seen]

    @asynccontextmanager
    async def of(self, following: Any) -> AsyncIterator["asyncio.Task[None]"]:
        async def read() -> None:
            async with aclosing(following) as each:
                async for seen in each:
                    self.seen.append(seen)

        reading = asyncio.create_task(read())
        try:
            yield reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def until(self, count: int) -> None:
        async def there() -> bool:
            return len(self.seen) >= count

        await eventually(there, within=60, what=f"{count} events")
        assert self.texts == [str(number + 1) for number in range(count)]
        assert len({each.position for each in self.seen}) == count


async def test_over_a_gateway_through_cuts_and_restarts(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        fanout(installation),
        telling(installation) as teller,
        relay(None) as between,
        AsyncExitStack() as first,
        AsyncExitStack() as second,
    ):
        http, between.target = await first.enter_async_context(installation.served_gateway())
        me = await http.sign_up()
        project = await http.project(me)
        begin = (await http.get(f"/api/v1/projects/{project}/events", headers=me)).json()["nextCursor"]
        taken = Taken()
        async with (
            httpx.AsyncClient(base_url=f"http://{between.address}", headers=me) as client,
            taken.of(follow(client, project=project, after=begin, types=["tasks.*"])),
        ):
            await teller.tell(project, 3)
            await taken.until(3)
            for _ in range(3):  # at different places in the middle of an event
                between.passed = 100 + 60 * _
                await teller.tell(project, 2)
                await taken.until(teller.count)
            between.target = None
            await first.aclose()
            await teller.tell(project, 2)
            _, between.target = await second.enter_async_context(installation.served_gateway())
            await taken.until(teller.count)
            await teller.tell(project)
            await taken.until(teller.count)
        assert between.connections >= 5


async def test_what_a_gateway_does_not_know_any_more_comes_in_pages(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        fanout(installation),
        telling(installation) as teller,
        installation.served_gateway() as (http, address),
    ):
        me = await http.sign_up()
        project = await http.project(me)
        await teller.tell(project, 5)
        taken = Taken()
        async with (
            httpx.AsyncClient(base_url=f"http://{address}", headers=me) as client,
            taken.of(follow(client, project=project, after="0" * 16 + ":1", types=["tasks.*"])),
        ):
            await taken.until(5)
            await teller.tell(project)
            await taken.until(6)


async def test_as_the_command_line_is_logged_in(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a session that needs new tokens, with an API token, and with nothing at all."""
    monkeypatch.setenv("SIGNALBOX_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("SIGNALBOX_TOKEN", raising=False)
    async with (
        installation.running_auth(),
        fanout(installation),
        telling(installation) as teller,
        installation.served_gateway() as (http, address),
    ):
        url = f"http://{address}"
        me = await http.sign_up("following")
        project = await http.project(me)
        async with open_async_client(url) as client:
            with pytest.raises(NotLoggedIn):
                await anext(follow(client, project=project))
        body = {"username": "following", "password": "correct horse battery staple"}
        session = (await http.post("/api/v1/auth/login?cookie=false", json=body)).json()
        Sessions().put(
            url,
            Session(
                access_token="not any more",
                refresh_token=session["refreshToken"],
                expires_at=0,
            ),
        )
        await _follows(open_async_client(url), project, teller)
        made = await http.post(
            "/api/v1/auth/tokens", json={"name": "following", "scopes": ["events:read"]}, headers=me
        )
        assert made.status_code == 201, made.text
        monkeypatch.setenv("SIGNALBOX_TOKEN", made.json()["token"])
        await _follows(open_async_client(url), project, teller)
        monkeypatch.setenv("SIGNALBOX_TOKEN", "sbx_nonsense")
        async with open_async_client(url) as client:
            with pytest.raises(SignalboxError) as refused:
                await anext(follow(client, project=project))
        assert refused.value.status == 401


async def _follows(client: httpx.AsyncClient, project: str, teller: Any) -> None:
    async with client, aclosing(follow(client, project=project)) as each:
        waiting = asyncio.ensure_future(anext(each))

        async def one() -> bool:
            await teller.tell(project)
            return waiting.done()

        await eventually(one, what="an event")
        assert (await waiting).event["project"] == project


async def test_strangers_are_refused(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        fanout(installation),
        installation.served_gateway() as (http, address),
    ):
        project = await http.project(await http.sign_up())
        async with httpx.AsyncClient(base_url=f"http://{address}", headers=await http.sign_up()) as client:
            with pytest.raises(SignalboxError) as refused:
                await anext(follow(client, project=project))
        assert refused.value.status == 404


def operator_of(installation: Installation, folder: Path) -> Operator:
    home = Home(folder)
    (home.credentials / "operator").mkdir(parents=True, exist_ok=True)
    servers = installation.servers
    url = servers.credentials.nats_url(servers.endpoints, "operator")
    (home.credentials / "operator" / "nats-url").write_text(url, encoding="utf-8")
    return Operator(home)


PROJECT = "00000000-0000-7000-8000-00000000000a"


async def test_over_the_bus_through_restarts(own_installation: Installation, tmp_path: Path) -> None:
    operator = operator_of(own_installation, tmp_path / "home")
    server = own_installation.servers.processes["nats"]
    taken = Taken()
    async with telling(own_installation) as teller:
        await teller.tell(PROJECT, 3)
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        async with taken.of(follow_bus(operator, f"evt.{PROJECT}.tasks.>", since=an_hour_ago)) as reading:
            await taken.until(3)
            for _ in range(2):
                server.kill()
                await server.start()
                await teller.bus.connection.wait_up()
                await teller.tell(PROJECT, 30)
                await taken.until(teller.count)
            assert not reading.done()
        ended = [seen async for seen in follow_bus(operator, "evt.*.>", since=an_hour_ago, ends=True)]
        assert len(ended) == teller.count
        place = int(ended[9].position.rpartition(":")[2])
        rest = [seen async for seen in follow_bus(operator, "evt.*.>", after=place, ends=True)]
        assert rest == ended[10:]
        assert [seen async for seen in follow_bus(operator, "evt.*.>", ends=True)] == []
    server.kill()
    with pytest.raises((NatsError, OSError)):
        await anext(follow_bus(operator, "evt.*.>"))


async def test_over_the_bus_an_event_comes_at_once(installation: Installation, tmp_path: Path) -> None:
    operator = operator_of(installation, tmp_path / "home")
    taken = Taken()
    async with (
        telling(installation) as teller,
        taken.of(follow_bus(operator, f"evt.{PROJECT}.>")),
        installation.nats() as client,
    ):

        async def follows() -> bool:
            return (await client.jetstream().stream_info("EVENTS")).state.consumer_count > before

        before = len([consumer for consumer in await _consumers(client) if not consumer.startswith("tail-")])
        await eventually(follows, what="the consumer is there")

        async def told() -> None:
            await teller.tell(PROJECT)
            await taken.until(teller.count)

        control = await pace(lambda: _consumers(client))
        assert await pace(told) < soon(control)


async def test_over_the_bus_a_stream_that_begins_anew_is_all_new(
    installation: Installation, tmp_path: Path
) -> None:
    operator = operator_of(installation, tmp_path / "home")
    taken = Taken()
    async with telling(installation) as teller:
        await teller.tell(PROJECT, 5)
        async with taken.of(follow_bus(operator, f"evt.{PROJECT}.>", after=0)):
            await taken.until(5)
            await installation.servers.fresh_streams()
            await teller.tell(PROJECT, 2)
            await taken.until(7)


async def _consumers(client: Any) -> list[str]:
    return [str(each.name) for each in await client.jetstream().consumers_info("EVENTS")]
