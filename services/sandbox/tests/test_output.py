"""What is kept of a process' output, and who gets what of it."""

import asyncio
from random import Random

import pytest

from signalbox_sandbox.keeper.output import Output
from signalbox_sandbox.keeper.wire import Frame, FrameReader, Kind

KEPT = 64 * 1024


async def told(output: Output, offset: int = 0, *, follow: bool = False) -> list[Frame]:
    return [frame async for frame in output.frames(offset, follow=follow)]


def joined(frames: list[Frame], kind: Kind = Kind.STDOUT) -> bytes:
    return b"".join(frame.content for frame in frames if frame.kind is kind)


async def test_streams_keep_their_order_under_one_count() -> None:
    output = Output(kept=KEPT)
    output.add(Kind.STDOUT, b"one ")
    output.add(Kind.STDERR, b"oops ")
    output.add(Kind.STDOUT, b"two")
    assert [(frame.kind, frame.offset, frame.content) for frame in await told(output)] == [
        (Kind.STDOUT, 0, b"one "),
        (Kind.STDERR, 4, b"oops "),
        (Kind.STDOUT, 9, b"two"),
    ]


async def test_every_offset_is_a_place_to_go_on_from() -> None:
    output = Output(kept=KEPT)
    random = Random(1)
    content = random.randbytes(20_000)
    for begin in range(0, len(content), 777):
        output.add(Kind.STDOUT, content[begin : begin + 777])
    for offset in (0, 1, 776, 777, 12_345, 19_999, 20_000):
        assert joined(await told(output, offset)) == content[offset:]
    assert await told(output, 30_000) == []


async def test_what_is_not_kept_is_one_gap() -> None:
    output = Output(kept=KEPT)
    content = Random(2).randbytes(10 * KEPT)
    for begin in range(0, len(content), 1_000):
        output.add(Kind.STDOUT, content[begin : begin + 1_000])
    first, *rest = await told(output)
    assert (first.kind, first.offset) == (Kind.GAP, 0)
    missing = int.from_bytes(first.content, "big")
    assert missing == output.begin
    assert KEPT <= output.end - output.begin <= 2 * KEPT
    assert joined(rest) == content[missing:]


async def test_with_hold_nothing_goes_before_it_was_confirmed() -> None:
    output = Output(hold=True, kept=KEPT)
    content = Random(3).randbytes(10 * KEPT)
    added, taken = 0, b""
    while len(taken) < len(content):
        while output.room and added < len(content):
            piece = content[added : added + min(output.room, 1_000)]
            output.add(Kind.STDOUT, piece)
            added += len(piece)
        assert output.end - output.confirmed <= KEPT
        frames = await told(output, len(taken))
        assert all(frame.kind is Kind.STDOUT for frame in frames)
        taken += joined(frames)
        output.confirm(len(taken))
        output.confirm(0)  # it does not go back
    assert taken == content
    assert output.end - output.begin <= 2 * KEPT


async def test_whoever_follows_is_told_to_the_end() -> None:
    output = Output(kept=KEPT)
    following = [asyncio.create_task(told(output, offset, follow=True)) for offset in (0, 2)]
    for piece in (b"ab", b"cd", b"ef"):
        await asyncio.sleep(0)
        output.add(Kind.PTY, piece)
    output.finish(b"{}")
    for offset, frames in zip((0, 2), await asyncio.gather(*following), strict=True):
        assert joined(frames, Kind.PTY) == b"abcdef"[offset:]
        assert (frames[-1].kind, frames[-1].offset, frames[-1].content) == (Kind.END, 6, b"{}")
    assert await told(output, 6) == [Frame(Kind.END, 6, b"{}")]


@pytest.mark.parametrize("size", [1, 2, 7, 12, 13, 14, 1_000])
def test_frames_are_read_however_they_are_cut(size: int) -> None:
    sent = [
        Frame(Kind.STDOUT, 0, b"hello"),
        Frame(Kind.STDERR, 5, b""),
        Frame(Kind.GAP, 2**40, bytes(8)),
        Frame(Kind.END, 2**40 + 8, b'{"state":"ended"}'),
    ]
    data = b"".join(frame.encode() for frame in sent)
    reader = FrameReader()
    assert [f for at in range(0, len(data), size) for f in reader.feed(data[at : at + size])] == sent
