"""What is kept of a process' output, and who gets what of it."""

from random import Random

import pytest

from signalbox_common.dataplane.frames import FrameReader
from signalbox_sandbox.keeper.output import Budget, Output, following
from signalbox_sandbox.keeper.wire import Frame, Kind

KEPT = 64 * 1024


def told(output: Output, offset: int = 0) -> list[Frame]:
    """All that there is from there on."""
    found = []
    while (frame := output.after(offset)) is not None:
        found.append(frame)
        if frame.kind is Kind.END:
            break
        offset = following(frame)
    return found


def joined(frames: list[Frame], kind: Kind = Kind.STDOUT) -> bytes:
    return b"".join(frame.content for frame in frames if frame.kind is kind)


def test_streams_keep_their_order_under_one_count() -> None:
    output = Output(kept=KEPT)
    output.add(Kind.STDOUT, b"one ")
    output.add(Kind.STDERR, b"oops ")
    output.add(Kind.STDOUT, b"two")
    assert [(frame.kind, frame.offset, frame.content) for frame in told(output)] == [
        (Kind.STDOUT, 0, b"one "),
        (Kind.STDERR, 4, b"oops "),
        (Kind.STDOUT, 9, b"two"),
    ]


def test_every_offset_is_a_place_to_go_on_from() -> None:
    output = Output(kept=KEPT)
    random = Random(1)
    content = random.randbytes(20_000)
    for begin in range(0, len(content), 777):
        output.add(Kind.STDOUT, content[begin : begin + 777])
    for offset in (0, 1, 776, 777, 12_345, 19_999, 20_000):
        assert joined(told(output, offset)) == content[offset:]
    assert told(output, 30_000) == []


def test_what_is_not_kept_is_one_gap() -> None:
    output = Output(kept=KEPT)
    content = Random(2).randbytes(10 * KEPT)
    for begin in range(0, len(content), 1_000):
        output.add(Kind.STDOUT, content[begin : begin + 1_000])
    first, *rest = told(output)
    assert (first.kind, first.offset) == (Kind.GAP, 0)
    missing = int.from_bytes(first.content, "big")
    assert missing == output.begin
    assert KEPT <= output.end - output.begin <= 2 * KEPT
    assert joined(rest) == content[missing:]


def test_with_hold_nothing_goes_before_it_was_confirmed() -> None:
    output = Output(hold=True, kept=KEPT)
    content = Random(3).randbytes(10 * KEPT)
    added, taken = 0, b""
    while len(taken) < len(content):
        while output.room and added < len(content):
            piece = content[added : added + min(output.room, 1_000)]
            output.add(Kind.STDOUT, piece)
            added += len(piece)
        assert output.end - output.confirmed <= KEPT
        frames = told(output, len(taken))
        assert all(frame.kind is Kind.STDOUT for frame in frames)
        taken += joined(frames)
        output.confirm(len(taken))
        output.confirm(0)  # it does not go back
    assert taken == content
    assert output.end - output.begin <= 2 * KEPT


def test_whoever_follows_is_called_whenever_there_is_more() -> None:
    output, seen = Output(kept=KEPT), list[list[Frame]]()
    output.readers.add(lambda: seen.append(told(output, 2)))
    for piece in (b"ab", b"cd", b"ef"):
        output.add(Kind.PTY, piece)
    assert [joined(frames, Kind.PTY) for frames in seen] == [b"", b"cd", b"cdef"]
    output.finish(b"{}")
    assert seen[-1][-1] == Frame(Kind.END, 6, b"{}")
    assert told(output, 6) == [Frame(Kind.END, 6, b"{}")]


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
    read = [f for at in range(0, len(data), size) for f in reader.feed(data[at : at + size])]
    assert [tuple(frame) for frame in read] == [tuple(frame) for frame in sent]
    assert [frame.following for frame in read] == [following(frame) for frame in sent]


def test_all_of_a_sandbox_share_one_budget() -> None:
    budget = Budget(3 * KEPT)
    outputs = [Output(kept=KEPT, budget=budget) for _ in range(3)]
    held = Output(hold=True, kept=KEPT, budget=budget)
    for output in outputs:
        output.add(Kind.STDOUT, bytes(KEPT // 2))
    held.add(Kind.STDOUT, bytes(KEPT))
    assert budget.used == 3 * (KEPT // 2) + KEPT
    outputs[0].release(KEPT)
    assert (outputs[0].begin, outputs[0].end) == (KEPT // 2, KEPT // 2)
    assert held.releasable == 0
    held.release(KEPT)
    assert held.begin == 0, "what nobody has confirmed stays"
    held.confirm(KEPT)
    held.release(KEPT)
    outputs[1].forget()
    assert budget.used == outputs[2].end
    assert told(outputs[0])[0].kind is Kind.GAP


def test_without_room_for_all_who_is_held_waits() -> None:
    budget = Budget(KEPT)
    one, held = Output(kept=KEPT, budget=budget), Output(hold=True, kept=KEPT, budget=budget)
    one.add(Kind.STDOUT, bytes(KEPT))
    assert held.room == 0
    one.release(KEPT)
    assert held.room == KEPT
