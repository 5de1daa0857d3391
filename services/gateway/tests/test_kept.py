"""What is kept of the channels that are followed: never with a hole, and bounded."""

import random
from collections.abc import Iterable

import pytest

from signalbox_gateway.live import kept
from signalbox_gateway.live.kept import Kept
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told


def told(number: int, channel: str = "a", size: int = 10) -> Told:
    return Told(Offset("0" * 16, number), channel, "x", b"x" * size)


def numbers(found: Iterable[Told] | None) -> list[int] | None:
    return None if found is None else [each.sequence for each in found]


def test_nothing_is_known_of_a_channel_that_is_not_followed() -> None:
    made = Kept()
    made.add(told(1))
    made.add_past("a", 0, 1, [told(1)])
    assert made.after("a", 0) is None
    assert made.size == 0


def test_what_came_before_it_was_followed_is_not_known_until_it_was_read() -> None:
    made = Kept()
    made.begin("a", 5)
    made.add(told(7))
    assert numbers(made.after("a", 4)) is None
    assert numbers(made.after("a", 5)) == [7]
    assert numbers(made.after("a", 7)) == []
    # What was read may overlap what came meanwhile.
    made.add_past("a", 2, 7, [told(3), told(5), told(7)])
    assert numbers(made.after("a", 2)) == [3, 5, 7]
    assert numbers(made.after("a", 1)) is None
    made.add_past("a", 4, 7, [told(5), told(7)])
    assert numbers(made.after("a", 2)) == [3, 5, 7], "less than is known already"


def test_what_was_read_too_long_ago_leaves_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it was read so much came that what is kept begins later than what was read ends."""
    monkeypatch.setattr(kept, "MOST", 2)
    made = Kept()
    made.begin("a", 5)
    for number in range(6, 12):
        made.add(told(number))
    made.add_past("a", 1, 8, [told(number) for number in range(2, 9)])
    assert numbers(made.after("a", 1)) is None
    assert numbers(made.after("a", 9)) == [10, 11]
    made.add_past("a", 1, 9, [told(number) for number in range(2, 10)])
    assert numbers(made.after("a", 9)) == [10, 11]
    assert numbers(made.after("a", 8)) is None, "there is no room for more"


def test_to_begin_again_forgets_nothing() -> None:
    made = Kept()
    made.begin("a", 1)
    made.add(told(2))
    made.begin("a", 9)
    assert numbers(made.after("a", 1)) == [2]


def test_of_one_channel_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    made = Kept()
    made.begin("a", 0)
    for number in range(1, 6):
        made.add(told(number))
    assert numbers(made.after("a", 1)) is None
    assert numbers(made.after("a", 2)) == [3, 4, 5]
    made.add_past("a", 0, 5, [told(1), told(2), told(3), told(4), told(5)])
    assert numbers(made.after("a", 1)) is None, "what was read does not push out what is newer"
    assert numbers(made.after("a", 2)) == [3, 4, 5]


def test_of_all_channels_together_those_are_kept_that_are_asked_for() -> None:
    made = Kept(20_000)
    for channel in "abc":
        made.begin(channel, 0)
        made.add(told(1, channel, 300))
    assert numbers(made.after("a", 0)) == [1]
    for number in range(2, 7):
        made.add(told(number, "c", 300))
    assert made.after("b", 0) is None
    assert numbers(made.after("a", 0)) == [1]
    assert made.size <= 20_000
    made.add(told(9, "c", 10_000))
    assert made.after("c", 0) is None, "one alone may be too much"
    assert numbers(made.after("a", 0)) == [1]


def test_its_size_is_what_it_holds() -> None:
    chance = random.Random(5)
    made = Kept(30_000)
    last = dict.fromkeys("abcd", 0)
    for _ in range(3_000):
        channel = chance.choice("abcd")
        match chance.randrange(5):
            case 0:
                made.begin(channel, last[channel])
            case 1:
                made.forget(channel)
            case 2:
                made.add_past(channel, max(0, last[channel] - 20), last[channel], [])
            case _:
                last[channel] += 1
                made.add(told(last[channel], channel, chance.randrange(300)))
        assert 0 <= made.size <= 30_000
    made.clear()
    assert made.size == 0
    made.begin("a", 0)
    made.forget("a")
    assert made.size == 0
