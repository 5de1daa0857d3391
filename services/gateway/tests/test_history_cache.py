"""The history cache of the channels that are followed: never with a hole, and bounded."""

import random
from collections.abc import Iterable

import pytest

from signalbox_gateway.live import history
from signalbox_gateway.live.history import HistoryCache
from signalbox_gateway.live.publication import Publication, StreamPosition


def publication(number: int, channel: str = "a", size: int = 10) -> Publication:
    return Publication(StreamPosition("0" * 16, number), channel, "x", b"x" * size)


def offsets(found: Iterable[Publication] | None) -> list[int] | None:
    return None if found is None else [each.offset for each in found]


def test_nothing_is_known_of_a_channel_that_is_not_followed() -> None:
    cache = HistoryCache()
    cache.add(publication(1))
    cache.add_past("a", 0, 1, [publication(1)])
    assert cache.after("a", 0) is None
    assert cache.size == 0


def test_what_came_before_it_was_followed_is_not_known_until_it_was_read() -> None:
    cache = HistoryCache()
    cache.begin("a", 5)
    cache.add(publication(7))
    assert offsets(cache.after("a", 4)) is None
    assert offsets(cache.after("a", 5)) == [7]
    assert offsets(cache.after("a", 7)) == []
    # What was read may overlap what came meanwhile.
    cache.add_past("a", 2, 7, [publication(3), publication(5), publication(7)])
    assert offsets(cache.after("a", 2)) == [3, 5, 7]
    assert offsets(cache.after("a", 1)) is None
    cache.add_past("a", 4, 7, [publication(5), publication(7)])
    assert offsets(cache.after("a", 2)) == [3, 5, 7], "less than is known already"


def test_what_was_read_too_long_ago_leaves_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it was read so much came that what is cached begins later than what was read ends."""
    monkeypatch.setattr(history, "CACHE_ENTRIES", 2)
    cache = HistoryCache()
    cache.begin("a", 5)
    for number in range(6, 12):
        cache.add(publication(number))
    cache.add_past("a", 1, 8, [publication(number) for number in range(2, 9)])
    assert offsets(cache.after("a", 1)) is None
    assert offsets(cache.after("a", 9)) == [10, 11]
    cache.add_past("a", 1, 9, [publication(number) for number in range(2, 10)])
    assert offsets(cache.after("a", 9)) == [10, 11]
    assert offsets(cache.after("a", 8)) is None, "there is no room for more"


def test_to_begin_again_forgets_nothing() -> None:
    cache = HistoryCache()
    cache.begin("a", 1)
    cache.add(publication(2))
    cache.begin("a", 9)
    assert offsets(cache.after("a", 1)) == [2]


def test_of_one_channel_the_latest_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "CACHE_ENTRIES", 3)
    cache = HistoryCache()
    cache.begin("a", 0)
    for number in range(1, 6):
        cache.add(publication(number))
    assert offsets(cache.after("a", 1)) is None
    assert offsets(cache.after("a", 2)) == [3, 4, 5]
    cache.add_past("a", 0, 5, [publication(number) for number in range(1, 6)])
    assert offsets(cache.after("a", 1)) is None, "what was read does not push out what is newer"
    assert offsets(cache.after("a", 2)) == [3, 4, 5]


def test_of_all_channels_together_those_are_cached_that_are_asked_for() -> None:
    cache = HistoryCache(20_000)
    for channel in "abc":
        cache.begin(channel, 0)
        cache.add(publication(1, channel, 300))
    assert offsets(cache.after("a", 0)) == [1]
    for number in range(2, 7):
        cache.add(publication(number, "c", 300))
    assert cache.after("b", 0) is None
    assert offsets(cache.after("a", 0)) == [1]
    assert cache.size <= 20_000
    cache.add(publication(9, "c", 10_000))
    assert cache.after("c", 0) is None, "one alone may be too much"
    assert offsets(cache.after("a", 0)) == [1]


def test_its_size_is_what_it_holds() -> None:
    chance = random.Random(5)
    cache = HistoryCache(30_000)
    last = dict.fromkeys("abcd", 0)
    for _ in range(3_000):
        channel = chance.choice("abcd")
        match chance.randrange(5):
            case 0:
                cache.begin(channel, last[channel])
            case 1:
                cache.forget(channel)
            case 2:
                cache.add_past(channel, max(0, last[channel] - 20), last[channel], [])
            case _:
                last[channel] += 1
                cache.add(publication(last[channel], channel, chance.randrange(300)))
        assert 0 <= cache.size <= 30_000
    cache.clear()
    assert cache.size == 0
    cache.begin("a", 0)
    cache.forget("a")
    assert cache.size == 0
