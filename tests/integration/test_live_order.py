"""The order of events where clients join, leave and resume while others come in: races, forced."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from signalbox_common.errors import Unavailable
from signalbox_common.testing import eventually
from signalbox_gateway.live.history import Heads, History
from signalbox_gateway.live.publication import StreamPosition
from tests.support.hub import Scene, hub_scene
from tests.support.servers import TestServers


@pytest.fixture
async def scene(servers: TestServers) -> AsyncIterator[Scene]:
    async with hub_scene(servers) as made:
        yield made


class Gate:
    """Holds up a call: before it is made, or its answer."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def through(self) -> None:
        self.reached.set()
        await self.opened.wait()


def hold_up(
    monkeypatch: pytest.MonkeyPatch, name: str, *, answer: bool, which: Callable[[Any], bool]
) -> Gate:
    """The first such call of the history that is of that kind waits at the gate."""
    gate = Gate()
    real: Callable[..., Coroutine[Any, Any, Any]] = getattr(History, name)

    async def held(history: History, argument: Any, *rest: Any) -> Any:
        waits = not gate.reached.is_set() and which(argument)
        if waits and not answer:
            await gate.through()
        found = await real(history, argument, *rest)
        if waits and answer:
            await gate.through()
        return found

    monkeypatch.setattr(History, name, held)
    return gate


async def test_what_comes_while_the_past_is_read_is_held(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.tell(5)
    other, client = scene.client(), scene.client()
    await scene.join(other)
    gate = hold_up(monkeypatch, "recent", answer=True, which=lambda _: True)
    joining = asyncio.create_task(scene.join(client, after=2))
    await gate.reached.wait()
    await scene.tell(3)
    await scene.until(other, [6, 7, 8])
    assert [told.offset for told in client.subscriber.buffer or ()] == [6, 7, 8]
    assert client.told == []
    gate.opened.set()
    await joining
    assert client.subscriber.buffer is None
    assert client.numbers == [3, 4, 5, 6, 7, 8]
    await scene.tell()
    await scene.until(client, [3, 4, 5, 6, 7, 8, 9])
    assert (client.late, client.resyncs) == ([], [])


async def test_between_joining_and_going_live(scene: Scene) -> None:
    await scene.tell(2)
    other, client = scene.client(), scene.client()
    await scene.join(other)
    begin, past = await scene.hub.subscribe(client.subscriber, None)
    assert (begin.offset, past) == (2, [])
    await scene.tell(3)
    await scene.until(other, [3, 4, 5])
    assert client.told == []
    scene.hub.go_live(client.subscriber)
    assert client.numbers == [3, 4, 5]


@pytest.mark.parametrize("after", [None, 1])
async def test_of_two_who_join_at_once_the_one_with_the_older_answer_misses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, after: int | None
) -> None:
    """The second has learned of an event before that event came; the first must not lose it by that."""
    await scene.tell(2)
    first, second = scene.client(), scene.client()
    gate = hold_up(monkeypatch, "heads", answer=True, which=lambda channels: not channels)
    slow = asyncio.create_task(scene.join(first, after))
    await gate.reached.wait()
    taken = asyncio.Event()
    real = scene.hub._receive

    async def wait_then_take(published: Any) -> None:
        await taken.wait()
        await real(published)

    monkeypatch.setattr(scene.hub, "_receive", wait_then_take)
    await scene.tell()
    await scene.join(second, after)
    taken.set()
    gate.opened.set()
    begin = await slow
    await scene.tell()
    expected = [n for n in (1, 2, 3, 4) if n > begin.offset]
    await scene.until(first, expected)
    assert begin.offset == (1 if after == 1 else 3)
    assert (first.late, first.resyncs) == ([], [])


async def test_redis_behind_those_who_watch(scene: Scene) -> None:
    """It fell back: what others have had is told again to nobody, and nobody who joins misses any."""
    await scene.tell(10)
    old = scene.client()
    await scene.join(old, after=0)
    await scene.tell(2)
    await scene.until(old, range(1, 13))
    await scene.forget()
    await scene.history.begin(1, 5)
    await scene.copy(6, 6)
    resumed, ahead, new = scene.client(), scene.client(), scene.client()
    await scene.join(resumed, after=8)
    await scene.join(ahead, after=12)
    begin = await scene.join(new)
    assert resumed.numbers == [9, 10, 11, 12]
    assert begin.offset == 12
    assert await scene.copy(5, 12) is None
    await scene.tell()
    for client, expected in ((resumed, range(9, 14)), (ahead, [13]), (new, [13]), (old, range(1, 14))):
        await scene.until(client, expected)
        assert (client.late, client.resyncs) == ([], [])


async def test_several_channels_are_told_in_one_order(scene: Scene) -> None:
    other = uuid.uuid4()
    both = scene.client(scene.project, other)
    await scene.tell(1)
    await scene.join(both, after=0)
    for _ in range(20):
        await scene.tell(1, random.choice((scene.project, other)))
    await scene.until(both, range(1, 22))
    again = scene.client(scene.project, other)
    await scene.join(again, after=3)
    assert again.numbers == list(range(4, 22))
    assert (both.late, again.late) == ([], [])


async def test_joining_and_leaving_at_random(scene: Scene) -> None:
    """On one channel, as fast as it goes: nobody waits in vain, nobody misses anything."""
    rng = random.Random(7)
    stop = asyncio.Event()
    joined = 0

    async def come_and_go() -> None:
        nonlocal joined
        while not stop.is_set():
            client = scene.client()
            begin = await scene.join(client)
            joined += 1
            target = begin.offset + rng.randrange(4)

            async def reached(client: Any = client, target: int = target) -> bool:
                return client.subscriber.offset >= target or stop.is_set()

            await eventually(reached)
            await scene.hub.unsubscribe(client.subscriber)
            assert client.numbers == list(range(begin.offset + 1, begin.offset + 1 + len(client.told)))
            assert (client.late, client.resyncs) == ([], [])

    clients = [asyncio.create_task(come_and_go()) for _ in range(4)]
    for _ in range(150):
        await scene.tell()
    stop.set()
    await asyncio.gather(*clients)
    assert joined > 20

    async def nothing() -> bool:
        return not await scene.watched()

    await eventually(nothing, what="nothing subscribed")


async def test_whoever_gives_up_joining_leaves_nothing_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold_up(monkeypatch, "heads", answer=False, which=lambda channels: not channels)
    joining = asyncio.create_task(scene.join(scene.client()))
    await gate.reached.wait()
    assert len(await scene.watched()) == 1
    joining.cancel()
    await asyncio.wait([joining])

    async def nothing() -> bool:
        return not await scene.watched()

    await eventually(nothing, what="nothing subscribed")
    assert (scene.hub._subscribers, scene.hub._offsets, scene.hub._confirmations) == ({}, {}, {})


async def test_too_far_behind_goes_on_where_it_was_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes between the two words is told, too."""
    monkeypatch.setattr("signalbox_gateway.live.hub.MAX_RECOVERY", 5)
    await scene.tell(10)
    client = scene.client()
    gate = hold_up(monkeypatch, "recent", answer=True, which=lambda _: True)
    joining = asyncio.create_task(scene.join(client, after=0))
    await gate.reached.wait()
    await scene.tell(2)
    gate.opened.set()
    begin = await joining
    assert client.resyncs == [{"at": str(StreamPosition(scene.stream.epoch, 10)), "reason": "expired"}]
    assert (begin.offset, client.numbers) == (10, [11, 12])
    await scene.tell()
    await scene.until(client, [11, 12, 13])


async def test_too_much_at_once_is_asked_for_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox_gateway.live.hub.MAX_RECOVERY_BYTES", 1_000)
    await scene.tell(50)
    client = scene.client()
    await scene.join(client, after=0)
    assert [each["reason"] for each in client.resyncs] == ["expired"]
    assert client.told == []


async def test_who_does_not_take_the_past_holds_up_so_much_and_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox_gateway.live.subscriber.MAX_BUFFERED", 5)
    other, client = scene.client(), scene.client()
    await scene.join(other)
    await scene.hub.subscribe(client.subscriber, None)
    await scene.tell(14)
    await scene.until(other, range(1, 15))
    assert len(client.subscriber.buffer or ()) <= 5
    scene.hub.go_live(client.subscriber)
    epoch = scene.stream.epoch
    assert client.resyncs == [{"at": f"{epoch}:12", "after": f"{epoch}:0", "reason": "slow"}]
    assert client.numbers == [13, 14]


async def test_a_client_that_is_gone_costs_nobody_else(scene: Scene) -> None:
    """Its connection may refuse what it is sent, a moment before that it has left is known."""

    def refuse(_told: object) -> None:
        raise RuntimeError("the handler is closed")

    clients = [scene.client() for _ in range(6)]
    for client in clients[::2]:
        client.subscriber.deliver = refuse
    for client in clients:
        await scene.join(client)
    await scene.tell(3)
    for client in clients[1::2]:
        await scene.until(client, [1, 2, 3])


async def test_leaving_and_coming_at_once_keeps_the_subscription(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody comes while Redis is told that nobody is there any more; nothing has to be mended after it."""
    monkeypatch.setattr("signalbox_gateway.live.hub.HEADS_EVERY", 60)
    first, second = scene.client(), scene.client()
    await scene.join(first)
    feed = scene.hub._pubsub
    assert feed is not None
    gate, real = Gate(), feed.subscribe

    async def slow(channels: Any) -> None:
        if not gate.reached.is_set():
            await gate.through()
        await real(channels)

    monkeypatch.setattr(feed, "subscribe", slow)
    await scene.hub.unsubscribe(first.subscriber)
    await gate.reached.wait()
    await scene.join(second)
    gate.opened.set()
    await scene.tell(3)
    await scene.until(second, [1, 2, 3])


# -- another stream ----------------------------------------------------------------------------------------


async def test_everybody_is_told_that_the_stream_is_another_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox_gateway.live.hub.EPOCH_EVERY", 0.05)
    await scene.tell(9)
    client, joining = scene.client(), scene.client()
    await scene.join(client)
    await scene.hub.subscribe(joining.subscriber, None)
    stale = scene.history
    scene.stream.__init__()  # type: ignore[misc]  # all of it is new
    await scene.tell(2)

    async def told() -> bool:
        return bool(client.resyncs)

    await eventually(told)
    await scene.tell(1)
    await scene.until(client, [3])
    scene.hub.go_live(joining.subscriber)
    expected = {"at": f"{scene.stream.epoch}:2", "after": None, "reason": "expired"}
    assert client.resyncs == joining.resyncs == [expected]
    assert joining.numbers == [3]
    # A fan-out that was away for long still tells of the old one.
    event = scene.stream.messages[0]
    await stale.add([(9, 10, None)])
    await scene.redis.publish(next(iter(client.channels)), f"{stale.epoch} 10 9 x {{}}")
    assert event.sequence == 1
    await scene.tell(1)
    await scene.until(client, [3, 4])
    assert client.subscriber.epoch == scene.stream.epoch


async def test_joining_while_the_stream_becomes_another_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.tell(9)
    old, client = scene.client(), scene.client()
    await scene.join(old)
    gate = hold_up(monkeypatch, "heads", answer=True, which=lambda channels: not channels)
    joining = asyncio.create_task(scene.join(client, after=3))
    await gate.reached.wait()
    scene.stream.__init__()  # type: ignore[misc]  # all of it is new
    await scene.tell(2)
    await scene.join(scene.client())
    gate.opened.set()
    with pytest.raises(Unavailable):
        await joining
    assert len(old.resyncs) == 1
    foreign = scene.client()
    begin = await scene.join(foreign)
    assert begin == StreamPosition(scene.stream.epoch, 2)


async def test_heads_of_nothing(scene: Scene) -> None:
    assert await scene.history.heads([]) == Heads(None, 0, {})
