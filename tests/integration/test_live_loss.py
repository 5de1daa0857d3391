"""What Redis has published and did not deliver: noticed, and told from the history within a second."""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from signalbox_common.bus import Bus
from signalbox_common.testing import eventually
from signalbox_gateway.live.hub import Hub
from signalbox_gateway.live.publication import channel_of
from signalbox_gateway.live.pubsub import PubSub
from signalbox_gateway.live.subscriber import Subscriber
from tests.support.installation import Installation
from tests.support.lab import NoteTaken
from tests.support.live_core import PROJECT, ClientView, live

pytestmark = pytest.mark.fresh  # what the history of one channel holds is counted

WITHIN = 1.0
LOSSES = 5
FILLING = uuid.UUID("00000000-0000-7000-8000-00000000000f")


@dataclass
class Scene:
    hub: Hub
    bus: Bus
    redis: Redis
    seen: ClientView
    subscriber: Subscriber
    count: int = 0

    async def tell(self, count: int = 1) -> None:
        for _ in range(count):
            self.count += 1
            await self.bus.publish(NoteTaken(text=str(self.count)), project=PROJECT)

    async def copied(self) -> None:
        """Redis has all of it."""
        history = self.hub._history
        assert history is not None

        async def there() -> bool:
            entries = history._keys(channel_of(PROJECT))[1]
            return bool(await self.redis.zcard(entries) == self.count)

        await eventually(there, what="the history is complete")

    async def all_told(self) -> None:
        async def there() -> bool:
            return len(self.seen.told) == self.count

        await eventually(there, what=f"{self.count} events")
        assert self.seen.numbers == sorted(set(self.seen.numbers))
        assert self.seen.lost == 0

    async def cut(self) -> int:
        """Ends every connection that Redis publishes over."""
        return int(await self.redis.client_kill_filter(_type="pubsub"))


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with live(installation) as (hub, bus, redis):
        seen = ClientView()
        subscriber = seen.subscriber()
        await hub.subscribe(subscriber, None)
        hub.go_live(subscriber)
        yield Scene(hub, bus, redis, seen, subscriber)


class Doors:
    """New connections wait until they are let in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.knocking, self.open = asyncio.Event(), asyncio.Event()
        real = PubSub.open

        async def wait(*arguments: Any) -> PubSub:
            self.knocking.set()
            await self.open.wait()
            return await real(*arguments)

        monkeypatch.setattr(PubSub, "open", wait)

    def shut(self) -> None:
        self.knocking.clear()
        self.open.clear()


@pytest.mark.parametrize("count", [1, 20])
async def test_what_was_published_while_the_subscriber_was_cut_off(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Nothing comes after it that would show the gap."""
    doors = Doors(monkeypatch)
    delays = []
    for _ in range(LOSSES):
        assert await scene.cut() == 1
        await doors.knocking.wait()
        await scene.tell(count)
        await scene.copied()
        assert len(scene.seen.told) == scene.count - count
        began = time.perf_counter()
        doors.open.set()
        await scene.all_told()
        delays.append(time.perf_counter() - began)
        doors.shut()
    assert statistics.median(delays) < WITHIN, delays


async def test_cut_again_and_again_under_load(scene: Scene) -> None:
    cuts = 0
    for _ in range(25):
        await scene.tell(8)
        cuts += await scene.cut()
    began = time.perf_counter()
    await scene.all_told()
    assert time.perf_counter() - began < 2 * WITHIN
    assert cuts >= 1


async def test_a_lost_event_with_nothing_after_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands, and nothing ever shows the gap."""
    lost = 0

    async def lose(_published: object) -> None:
        nonlocal lost
        lost += 1

    monkeypatch.setattr(scene.hub, "_receive", lose)
    delays = []
    for _ in range(LOSSES):
        began = time.perf_counter()
        await scene.tell()
        await scene.all_told()
        delays.append(time.perf_counter() - began)
    assert lost == LOSSES
    assert statistics.median(delays) < WITHIN, delays


async def test_a_lost_event_is_noticed_by_the_next(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox_gateway.live.hub.HEADS_EVERY", 60)
    real = scene.hub._receive
    await scene.tell(2)
    await scene.all_told()
    lost = asyncio.Event()

    async def lose_one(published: Any) -> None:
        if lost.is_set():
            await real(published)
        lost.set()

    monkeypatch.setattr(scene.hub, "_receive", lose_one)
    await scene.tell()
    await lost.wait()
    await scene.tell()
    await scene.all_told()


async def test_the_subscriber_lags_so_far_that_redis_lets_go_of_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "client-output-buffer-limit"
    before = str((await scene.redis.config_get(limit))[limit])
    filler = ClientView().subscriber(FILLING)
    await scene.hub.subscribe(filler, None)
    scene.hub.go_live(filler)
    try:
        await scene.redis.config_set(limit, "pubsub 65536 65536 1")
        async with scene.hub._delivery:  # whoever delivers is busy: nothing is read any more
            await scene.tell(3)
            rubbish = b"x" * 1024 * 1024
            subscribers = 1
            while subscribers:
                subscribers = await scene.redis.publish(channel_of(FILLING), rubbish)
            await scene.tell(3)
            await scene.copied()
            began = time.perf_counter()
        await scene.all_told()
        assert time.perf_counter() - began < 2 * WITHIN
        assert int((await scene.redis.info("stats"))["client_output_buffer_limit_disconnections"]) >= 1
    finally:
        await scene.redis.config_set(limit, before)


async def test_a_connection_over_which_nothing_comes_is_replaced(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a network that swallows everything; what was published is told all the same."""
    monkeypatch.setattr("signalbox_gateway.live.pubsub.PING_EVERY", 0.1)
    deaf = scene.hub._pubsub
    assert deaf is not None
    swallowed = asyncio.Event()

    async def swallow() -> None:
        swallowed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(deaf, "read", swallow)
    await scene.tell()
    await swallowed.wait()
    await scene.tell(2)
    await scene.all_told()

    async def replaced() -> bool:
        return scene.hub._pubsub not in (None, deaf)

    await eventually(replaced, what="another connection")


async def test_nobody_there_and_nothing_subscribed(scene: Scene) -> None:
    """Whatever happened to the connection in between."""
    others = [ClientView().subscriber(uuid.uuid4()) for _ in range(30)]
    for each in others:
        await scene.hub.subscribe(each, None)
        scene.hub.go_live(each)
    assert len(await scene.redis.pubsub_channels("*")) == 31
    await scene.cut()
    for each in others[:15]:
        await scene.hub.unsubscribe(each)

    async def left(count: int) -> bool:
        return len(await scene.redis.pubsub_channels("*")) == count

    await eventually(lambda: left(16), what="those that are watched")
    for each in (*others[15:], scene.subscriber):
        await scene.hub.unsubscribe(each)
    await eventually(lambda: left(0), what="nothing subscribed")
