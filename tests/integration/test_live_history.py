"""The copy of the stream in Redis: bounded, lost, old, written by many, and never wrong."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from signalbox_common.bus.stored import StoredMessage
from signalbox_common.errors import Unavailable
from signalbox_common.testing import eventually
from signalbox_gateway.live.history import Heads, History
from signalbox_gateway.live.publication import Event, StreamPosition, channel_of, event_of
from tests.support.hub import Scene, hub_scene
from tests.support.servers import TestServers


@pytest.fixture
async def scene(servers: TestServers) -> AsyncIterator[Scene]:
    async with hub_scene(servers) as made:
        yield made


def keys(scene: Scene) -> tuple[str, str, str]:
    return scene.history._keys(channel_of(scene.project))


async def everything_after(scene: Scene, after: int, *projects: uuid.UUID) -> list[int]:
    client = scene.client(*projects)
    await scene.join(client, after)
    await scene.hub.unsubscribe(client.subscriber)
    assert (client.late, client.resyncs) == ([], [])
    return client.numbers


@pytest.mark.parametrize("limit", ["MAX_ENTRIES", "MAX_BYTES"])
async def test_further_behind_than_the_history(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    most = {"MAX_ENTRIES": 10, "MAX_BYTES": 1_800}
    monkeypatch.setattr(f"signalbox_gateway.live.history.{limit}", most[limit])
    for _ in range(20):
        await scene.tell(4)
        await scene.tell(1, uuid.uuid4())
    _, entries, seen = keys(scene)
    assert 5 <= await scene.redis.zcard(entries) <= 10
    assert await scene.redis.zcard(seen) == await scene.redis.zcard(entries)
    ours = [n for n in range(1, 101) if n % 5]
    for after in (0, 1, 50, 85, 90, 98, 99):
        assert await everything_after(scene, after) == [n for n in ours if n > after]
    assert scene.stream.reads > 0


async def test_many_reads_for_one_who_is_far_behind(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox_gateway.live.recovery._BATCH", 10)
    monkeypatch.setattr("signalbox_gateway.live.history.MAX_ENTRIES", 20)
    other = uuid.uuid4()
    for _ in range(30):
        await scene.tell(random.randrange(1, 4))
        await scene.tell(random.randrange(1, 3), other)
    client = scene.client(scene.project, other)
    await scene.join(client, 3)
    assert client.numbers == list(range(4, scene.stream.last + 1))


async def test_a_channel_without_a_key_is_read_from_the_stream(scene: Scene) -> None:
    await scene.tell(8)
    await scene.forget()
    for _ in range(3):  # nobody copies these
        scene.stream.store(scene.project)
    assert await everything_after(scene, 5) == [6, 7, 8, 9, 10, 11]
    await scene.history.begin(1, scene.stream.last)
    assert await everything_after(scene, 5) == [6, 7, 8, 9, 10, 11]
    await scene.tell(1)
    assert await everything_after(scene, 5) == [6, 7, 8, 9, 10, 11, 12]


async def test_a_channel_without_a_key_that_is_followed(scene: Scene) -> None:
    """Who comes again is told what the others were; all are told the rest when it is known in Redis again."""
    await scene.tell(8)
    watching, again = scene.client(), scene.client()
    await scene.join(watching, 4)
    await scene.forget()
    for _ in range(3):  # nobody copies these
        scene.stream.store(scene.project)
    await scene.join(again, 5)
    assert again.numbers == [6, 7, 8]
    await scene.history.begin(1, scene.stream.last)
    await scene.tell(1)
    await scene.until(watching, [5, 6, 7, 8, 9, 10, 11, 12])
    await scene.until(again, [6, 7, 8, 9, 10, 11, 12])


async def test_who_comes_again_soon_needs_no_redis(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others follow the channel; further back than what is kept for that, Redis is asked."""
    monkeypatch.setattr("signalbox_gateway.live.history.CACHE_ENTRIES", 6)
    await scene.tell(5)
    first, second, third = (scene.client() for _ in range(3))
    await scene.join(first, 2)
    await scene.tell(4)
    await scene.until(first, [3, 4, 5, 6, 7, 8, 9])
    asked: list[int] = []
    heads = History.heads

    async def counted(self: History, channels: Sequence[str]) -> Heads:
        if not channels:  # as somebody who joins asks
            asked.append(1)
        return await heads(self, channels)

    monkeypatch.setattr(History, "heads", counted)
    await scene.join(second, 3)
    assert (second.numbers, asked) == ([4, 5, 6, 7, 8, 9], [])
    await scene.join(third, 2)
    assert (third.numbers, asked) == ([3, 4, 5, 6, 7, 8, 9], [1])
    await scene.tell(2)
    for client, after in ((first, 2), (second, 3), (third, 2)):
        await scene.until(client, list(range(after + 1, 12)))


@pytest.mark.parametrize("lost", ["all", "facts", "entries", "seen"])
async def test_what_redis_has_forgotten_of_a_channel(scene: Scene, lost: str) -> None:
    """After a day without an event, or for want of memory; other channels are still there."""
    await scene.tell(5)
    names = dict(zip(("facts", "entries", "seen"), keys(scene), strict=True))
    await scene.redis.delete(*(names.values() if lost == "all" else [names[lost]]))
    assert await everything_after(scene, 2) == [3, 4, 5]
    await scene.tell(2)
    for after in range(7):
        assert await everything_after(scene, after) == list(range(after + 1, 8))


async def test_what_was_read_of_another_stream_is_not_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is made anew while somebody joins who reads the past of the old one."""
    await scene.tell(5)
    await scene.join(scene.client())
    old, heads = scene.stream.epoch, History.heads

    async def meanwhile(self: History, channels: Sequence[str]) -> Heads:
        found = await heads(self, channels)
        if not channels and scene.stream.epoch == old:  # as somebody who joins asks
            scene.stream.epoch = "feedfeedfeedfeed"
            scene.stream.messages.clear()
            await scene.tell(3)
            await scene.hub._check_epoch()
        return found

    monkeypatch.setattr(History, "heads", meanwhile)
    late = scene.client()
    with pytest.raises(Unavailable):
        await scene.hub.subscribe(late.subscriber, StreamPosition(old, 1))
    assert scene.stream.epoch != old
    again = scene.client()
    await scene.join(again, 1)
    assert [str(each.position) for each in again.told] == [f"{scene.stream.epoch}:{n}" for n in (2, 3)]


async def test_a_full_redis_forgets_what_nobody_reads(scene: Scene) -> None:
    """It goes on to take in what happens; what it has forgotten is in the stream."""
    client = scene.client()
    await scene.join(client)
    before = await scene.redis.config_get("maxmemory")
    evicted = (await scene.redis.info("stats"))["evicted_keys"]
    used = (await scene.redis.info("memory"))["used_memory"]
    others = [uuid.uuid4() for _ in range(30)]
    try:
        await scene.redis.config_set("maxmemory", used + 4 * 1024 * 1024)
        numbers = [[await scene.tell(1, other, size=60_000) for _ in range(5)] for other in others]
        last = await scene.tell(2)
        await scene.until(client, [last - 1, last])
        assert (await scene.redis.info("stats"))["evicted_keys"] > evicted
        for other, told in zip(others, numbers, strict=True):
            assert await everything_after(scene, 0, other) == told
    finally:
        await scene.redis.config_set("maxmemory", before["maxmemory"] or 0)
    assert scene.stream.reads > 0


async def test_a_new_channel_is_no_gap(scene: Scene) -> None:
    """Most operations are channels of their own with few events: none of them is read again."""
    await scene.tell(5)
    client = scene.client(uuid.uuid4())
    await scene.join(client)
    await scene.tell(5)
    reads = scene.stream.reads
    (channel,) = client.channels
    number = await scene.tell(1, uuid.UUID(channel.split(":")[1]))
    await scene.until(client, [number])
    assert scene.stream.reads == reads


async def test_what_was_seen_is_not_shown_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox_gateway.live.history.MAX_ENTRIES", 3)
    client = scene.client()
    await scene.join(client)
    await scene.tell(identity="same")
    await scene.tell(identity="same")
    await scene.tell(1, uuid.uuid4(), identity="same")
    await scene.tell(identity="other")
    await scene.until(client, [1, 4])
    await scene.tell(3)
    await scene.tell(identity="same")  # so long ago that nobody knows
    await scene.until(client, [1, 4, 5, 6, 7, 8])
    assert client.late == []


# -- those who write ---------------------------------------------------------------------------------------


async def test_two_fan_outs_at_once(scene: Scene) -> None:
    """Each in batches of its own, now one ahead and now the other."""
    rng = random.Random(3)
    client = scene.client()
    await scene.join(client)
    for _ in range(120):
        scene.stream.store(scene.project)

    async def fan_out() -> None:
        at = 0
        while at < 120:
            end = min(at + rng.randrange(1, 9), 120)
            behind = await scene.copy(at + 1, end)
            at = end if behind is None else behind
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)

    await asyncio.gather(fan_out(), fan_out(), fan_out())
    await scene.until(client, range(1, 121))
    assert await scene.redis.zcard(keys(scene)[1]) == 120
    assert await everything_after(scene, 0) == list(range(1, 121))
    assert client.late == []


async def test_a_fan_out_that_slept(scene: Scene) -> None:
    """With what it had read long ago: into a Redis that is ahead, and into an empty one."""
    client = scene.client()
    await scene.join(client)
    await scene.tell(30)
    assert await scene.copy(3, 12) is None
    await scene.until(client, range(1, 31))
    await scene.forget()
    assert await scene.copy(3, 12) is None
    late = scene.client()
    begin = await scene.join(late)
    assert begin.offset == 30
    assert await everything_after(scene, 1) == list(range(2, 31))
    scene.stream.store(scene.project)
    assert await scene.copy(31, 31) == 12, "the other one has to go back"
    assert await scene.copy(13, 31) is None
    await scene.until(client, range(1, 32))
    await scene.until(late, [31])
    assert (client.late, client.resyncs) == ([], [])


async def test_a_copy_older_than_the_stream_goes_on_where_the_stream_begins(scene: Scene) -> None:
    """Else whoever copies would be sent back for ever to what is not there any more."""
    await scene.tell(4)
    client = scene.client()
    await scene.join(client)
    for _ in range(6):
        scene.stream.store(scene.project)
    scene.stream.first = 8
    assert await scene.history.begin(8, 10) == 7
    assert await scene.history.add([(7, 8, _event(scene, 8))]) is None
    await scene.copy(9, 10)
    assert await everything_after(scene, 7) == [8, 9, 10]
    await scene.until(client, [8, 9, 10])


async def test_where_copying_begins(scene: Scene) -> None:
    history = History(scene.redis, scene.stream.epoch)
    assert await history.begin(0, 0) == 0
    assert await history.begin(1, 9) == 0
    await scene.forget()
    assert await history.begin(1, 9) == 9
    assert await history.begin(1, 20) == 9
    assert (await history.heads([])).floor == 9


@pytest.mark.parametrize("body", [b'{"text": "\\ud800"}', b"NaN", b"[" * 100_000, b"{", b"\xff"])
async def test_an_event_that_cannot_be_told_stops_nobody(scene: Scene, body: bytes) -> None:
    headers = {"ce-operation": "\udc80"}
    scene.stream.messages.append(StoredMessage(1, f"evt.{scene.project}.tasks.lab.taken", headers, body))
    client = scene.client()
    await scene.join(client, 0)
    assert await scene.copy(1, 1) is None
    await scene.tell(1)

    async def told() -> bool:
        return client.numbers[-1:] == [2]

    await eventually(told)
    assert all(b"NaN" not in each.text for each in client.told)


def _event(scene: Scene, number: int) -> Event | None:
    stored = scene.stream.messages[number - 1]
    return event_of(stored.subject, stored.headers, stored.body, stored.sequence)
