"""Server-sent events, cut into pieces anywhere."""

import random

import pytest

from signalbox_cli.live.gateway import Block, Parser

STREAM = (
    b"retry: 1000\nid: e:1\n\n"
    b":\n\n"
    b'event: tasks.task.created\nid: e:2\ndata: {"text": "H\xc3\xa4uschen \xf0\x9f\x90\x88"}\n\n'
    b"event:short\nid:e:3\ndata:no space\n\n"
    b"event: resync\nid: e:9\ndata: one\ndata: two\n: a comment\n\n"
)
BLOCKS = [
    Block(None, "e:1", None),
    Block(None, None, None),
    Block("tasks.task.created", "e:2", '{"text": "Häuschen 🐈"}'),
    Block("short", "e:3", "no space"),
    Block("resync", "e:9", "one\ntwo"),
]


def parsed(*chunks: bytes) -> list[Block]:
    parser = Parser()
    return [block for chunk in chunks for block in parser.feed(chunk)]


def test_in_one_piece() -> None:
    assert parsed(STREAM) == BLOCKS


@pytest.mark.parametrize("place", range(len(STREAM) + 1))
def test_cut_anywhere(place: int) -> None:
    assert parsed(STREAM[:place], STREAM[place:]) == BLOCKS


def test_byte_by_byte_and_in_any_pieces() -> None:
    assert parsed(*(STREAM[n : n + 1] for n in range(len(STREAM)))) == BLOCKS
    chance = random.Random(7)
    for _ in range(200):
        places = sorted(chance.sample(range(len(STREAM)), 6))
        pieces = [STREAM[a:b] for a, b in zip([0, *places], [*places, len(STREAM)], strict=True)]
        assert parsed(*pieces) == BLOCKS


def test_what_is_not_whole_does_not_count() -> None:
    assert parsed(b"event: x\nid: e:1\ndata: {}\n") == []
    assert parsed(b"event: x\nid: e:1\ndata: {}\n", b"\nevent: y\ndata: {}") == [Block("x", "e:1", "{}")]
