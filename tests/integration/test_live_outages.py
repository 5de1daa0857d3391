"""Live events while what they stand on is away, dead, asleep, or another one than before."""

import json
import signal
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import nats
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from signalbox_cli.provision import streams as streams_provision
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.testing import eventually
from signalbox_gateway.live import hub
from tests.support import lab
from tests.support.hub import patient_redis
from tests.support.installation import Http, Installation
from tests.support.live import SSE, Stream, Teller, fanout, said, say, socket, streaming, telling

pytestmark = pytest.mark.fresh  # services come and go

PATIENCE = 12.0
"""Seconds after which a request that cannot be answered has been refused."""


@dataclass
class Scene:
    installation: Installation
    http: Http
    address: str
    me: dict[str, str]
    project: str
    teller: Teller

    def streaming(self, **query: Any) -> Any:
        return streaming(self.address, self.me, project=self.project, **query)

    async def subscribed(self, connection: ClientConnection, **more: Any) -> dict[str, Any]:
        await say(connection, type="subscribe", ref="a", project=self.project, **more)
        return await said(connection)

    async def told(self, stream: Stream, texts: list[str]) -> None:
        await stream.until(lambda: len(stream.texts) >= len(texts))
        assert stream.texts == texts


@asynccontextmanager
async def live(installation: Installation) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(),
        installation.served_gateway() as (http, address),
        telling(installation) as teller,
    ):
        me = await http.sign_up()
        yield Scene(installation, http, address, me, await http.project(me), teller)


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with live(installation) as made, fanout(installation):
        yield made


@pytest.fixture
async def own(own_installation: Installation) -> AsyncIterator[Scene]:
    async with live(own_installation) as made, fanout(own_installation):
        yield made


async def refused(scene: Scene) -> None:
    """A new stream and a new subscription are, and soon."""
    began = time.perf_counter()
    answer = await scene.http.get(SSE, params={"project": scene.project}, headers=scene.me)
    assert time.perf_counter() - began < PATIENCE
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert answer.headers["retry-after"]


async def test_without_redis(own: Scene) -> None:
    """Who comes is refused; who is there waits, and misses nothing; pages are there all the time."""
    redis = own.installation.servers.processes["redis"]
    async with own.streaming() as stream, socket(own.address, own.me) as connection:
        await own.teller.tell(own.project, 2)
        await own.told(stream, ["1", "2"])
        redis.kill()
        await own.teller.tell(own.project, 3)
        await refused(own)
        answer = await own.subscribed(connection)
        assert (answer["type"], answer["code"]) == ("error", "unavailable")
        pages = await own.http.get(f"/api/v1/projects/{own.project}/events", headers=own.me)
        assert [item["data"].get("text") for item in pages.json()["items"]][-3:] == ["3", "4", "5"]
        assert stream.texts == ["1", "2"]
        await redis.start()
        await own.told(stream, ["1", "2", "3", "4", "5"])
        await own.teller.tell(own.project)
        await own.told(stream, ["1", "2", "3", "4", "5", "6"])
        assert (await own.subscribed(connection, resumeFrom=stream.blocks[0].id))["type"] == "subscribed"
        assert [(await said(connection))["event"]["data"]["text"] for _ in range(6)] == stream.texts
        assert "resync" not in {block.name for block in stream.blocks}


async def test_who_logs_out_does_not_stay_for_a_subscription_that_takes_long(
    own: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CONFIRMED_WITHIN", 60.0)
    redis = own.installation.servers.processes["redis"]
    async with socket(own.address, own.me) as connection:
        redis.signal(signal.SIGSTOP)
        try:
            await say(connection, type="subscribe", ref="a", project=own.project)
            await say(connection, type="subscribe", ref="b", project=own.project)
            assert (await own.http.post("/api/v1/auth/logout", headers=own.me)).status_code == 204
            with suppress(ConnectionClosed):
                while True:
                    await said(connection)
        finally:
            redis.signal(signal.SIGCONT)


async def test_without_the_bus(own: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is open would be ended after ten seconds without word of revocations, however long this takes.
    monkeypatch.setattr("signalbox_gateway.live.assurance.UNCHECKED_FOR", 120)
    server = own.installation.servers.processes["nats"]
    async with own.streaming() as stream, socket(own.address, own.me) as connection:
        await own.teller.tell(own.project)
        await own.told(stream, ["1"])
        server.signal(signal.SIGSTOP)
        try:
            await refused(own)
            answer = await own.subscribed(connection)
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
        finally:
            server.signal(signal.SIGCONT)

        async def again() -> bool:
            async with own.streaming(after=stream.last_id) as other:
                assert other.answer is not None
                return bool(other.answer.status_code == 200)

        await eventually(again, within=30)


async def test_the_stream_becomes_another_one(scene: Scene) -> None:
    """Everybody is told, and goes on in the new one."""
    servers = scene.installation.servers
    async with scene.streaming() as stream, socket(scene.address, scene.me) as connection:
        await scene.subscribed(connection)
        await scene.teller.tell(scene.project, 3)
        await scene.told(stream, ["1", "2", "3"])
        for _ in range(3):
            await said(connection)
        client = await nats.connect(servers.nats_admin_url)
        await client.jetstream().delete_stream(EVENTS.name)
        await client.close()
        await streams_provision.provision(servers.nats_admin_url, lab.TOPOLOGY)
        await stream.until(lambda: [b for b in stream.blocks if b.name == "resync"])
        (resync,) = (json.loads(block.data or "") for block in stream.blocks if block.name == "resync")
        assert (resync["after"], resync["reason"]) == (None, "expired")
        assert await said(connection) == {"type": "resync", "ref": "a"} | resync
        await scene.teller.tell(scene.project, 2)
        await scene.told(stream, ["1", "2", "3", "4", "5"])
        assert [(await said(connection))["event"]["data"]["text"] for _ in range(2)] == ["4", "5"]
        assert str(stream.last_id).partition(":")[0] == resync["at"].partition(":")[0]
    async with scene.streaming(after=resync["at"]) as again:
        await scene.told(again, ["4", "5"])
    assert "resync" not in {block.name for block in again.blocks}


async def test_one_of_two_fan_outs_sleeps(scene: Scene) -> None:
    """And goes on much later with what it had read, when the other one and Redis are far ahead."""
    async with fanout(scene.installation) as second, scene.streaming() as stream:
        for count in range(1, 4):
            second.send_signal(signal.SIGSTOP)
            await scene.teller.tell(scene.project, 100)
            await stream.until(lambda n=count: len(stream.events) >= 150 * n - 50)
            second.send_signal(signal.SIGCONT)
            await scene.teller.tell(scene.project, 50)
            await scene.told(stream, [str(n) for n in range(1, 150 * count + 1)])
        second.kill()
        await scene.teller.tell(scene.project)
        await scene.told(stream, [str(n) for n in range(1, 452)])
        assert "resync" not in {block.name for block in stream.blocks}


async def test_the_only_fan_out_sleeps(installation: Installation) -> None:
    async with live(installation) as scene, fanout(installation) as copying, scene.streaming() as stream:
        await scene.teller.tell(scene.project)
        await scene.told(stream, ["1"])
        copying.send_signal(signal.SIGSTOP)
        await scene.teller.tell(scene.project, 3)
        async with scene.streaming(after=stream.blocks[0].id) as late:
            copying.send_signal(signal.SIGCONT)
            await scene.told(late, ["1", "2", "3", "4"])
        await scene.told(stream, ["1", "2", "3", "4"])


@pytest.mark.parametrize("body", [b'{"text": "\\ud800"}', b"[" * 100_000, b"NaN", b"{", b"\xff\xfe"])
async def test_what_cannot_be_read_keeps_nobody_waiting(scene: Scene, body: bytes) -> None:
    async with scene.streaming() as stream, scene.installation.nats() as client:
        await scene.teller.tell(scene.project)
        subject = f"evt.{scene.project}.tasks.lab.taken"
        await client.jetstream().publish(subject, body, headers={"ce-id": "x", "ce-source": "/test"})
        await scene.teller.tell(scene.project)
        await stream.until(lambda: stream.texts[-1:] == ["2"])
        assert stream.texts[0] == "1"
    answer = await scene.http.get(f"/api/v1/projects/{scene.project}/events", headers=scene.me)
    assert answer.status_code == 200
    assert answer.json()["items"][-1]["data"]["text"] == "2"


async def test_large_events_are_read_from_the_stream_one_by_one(scene: Scene) -> None:
    text = "x" * 1_500_000
    async with scene.streaming() as stream:
        await scene.teller.tell(scene.project)
        await scene.told(stream, ["1"])
        begin = stream.last_id
    for _ in range(3):
        await scene.teller.tell(scene.project, text=text)
    redis = patient_redis(scene.installation.servers)

    async def copied() -> list[bytes]:
        sets = [key async for key in redis.scan_iter(match=f"live:*:progress:{scene.project}:entries")]
        return sets if sets and await redis.zcard(sets[0]) == 2 else []  # the third is too much

    try:
        (entries,) = await eventually(copied)
        await redis.delete(entries)
    finally:
        await redis.aclose()
    async with scene.streaming(after=begin) as stream:
        await scene.told(stream, [text] * 3)


async def test_a_deleted_project_costs_nobody_else(scene: Scene) -> None:
    doomed = await scene.http.project(scene.me, "Doomed")
    async with scene.streaming() as stream, socket(scene.address, scene.me) as connection:
        await scene.subscribed(connection)
        await say(connection, type="subscribe", ref="doomed", project=doomed)
        assert (await said(connection))["type"] == "subscribed"
        answer = await scene.http.delete(f"/api/v1/projects/{doomed}", headers=scene.me)
        assert answer.status_code in (200, 202, 204), answer.text
        while (message := await said(connection))["type"] != "error":
            assert message["ref"] == "doomed"
        assert message["ref"] == "doomed"
        await scene.teller.tell(scene.project, 2)
        await scene.told(stream, ["1", "2"])
        assert [(await said(connection))["event"]["data"]["text"] for _ in range(2)] == ["1", "2"]


async def test_when_everybody_has_left(scene: Scene) -> None:
    redis = patient_redis(scene.installation.servers)
    try:
        others = [await scene.http.project(scene.me) for _ in range(5)]
        async with streaming(scene.address, scene.me), socket(scene.address, scene.me) as connection:
            for other in (*others, str(uuid.UUID(int=1))):
                await say(connection, type="subscribe", ref=other, project=other)
                await said(connection)
            assert len(await redis.pubsub_channels("progress*")) >= 6

        async def nothing() -> bool:
            return not await redis.pubsub_channels("*")

        await eventually(nothing, what="nothing subscribed")
    finally:
        await redis.aclose()
