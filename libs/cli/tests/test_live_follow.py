"""Following a gateway that says what it likes: what comes late, what was left out, what is refused."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from signalbox_cli.live import ResyncRequired, follow, gateway
from signalbox_common.errors import SignalboxError

PROJECT = "00000000-0000-7000-8000-00000000000a"
Answer = bytes | httpx.Response


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PAUSE", 0.001)


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": str(number), "type": "a.b.c", "operation": None, "data": number} | changes


def told(number: int) -> bytes:
    return b"event: a.b.c\nid: e:%d\ndata: %b\n\n" % (number, json.dumps(event(number)).encode())


def resync(after: str | None, at: str, reason: str = "late") -> bytes:
    said = json.dumps({"after": after, "at": at, "reason": reason})
    return f"event: resync\nid: {at}\ndata: {said}\n\n".encode()


class Broken(httpx.AsyncByteStream):
    """A body that ends before it is over."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._text
        raise httpx.ReadError("cut")


class Gateway:
    """Answers each stream with the next that was given, and pages out of what it holds."""

    def __init__(self, *streams: Answer, holds: range = range(0), page: int = 500) -> None:
        self.streams = list(streams)
        self.resumed: list[str | None] = []
        self.asked: list[str | None] = []
        self.refuses_pages: Callable[[str | None], bool] = lambda _after: False
        self._holds = holds
        self._page = page

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://gateway")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/sse":
            self.resumed.append(request.headers.get("last-event-id"))
            if not self.streams:
                raise AssertionError("it connects once too often")
            following = self.streams.pop(0)
            if isinstance(following, httpx.Response):
                return following
            return httpx.Response(200, stream=Broken(following))
        after = request.url.params.get("after")
        self.asked.append(after)
        if self.refuses_pages(after):
            return refusal(410, "expired")
        begin = int(after.rpartition(":")[2]) if after else 0
        found = [number for number in self._holds if number > begin][: self._page]
        only_even = request.url.params.get("types") is not None
        items = [event(n, position=f"e:{n}") for n in found if not only_even or n % 2 == 0]
        return httpx.Response(200, json={"items": items, "nextCursor": f"e:{found[-1] if found else begin}"})


def refusal(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "status": status, "detail": "No."})


async def taken(made: Gateway, count: int, **options: Any) -> list[int]:
    numbers: list[int] = []
    async with made.client() as client, aclosing(follow(client, **options)) as each:
        async for seen in each:
            assert seen.position == f"e:{seen.event['data']}"
            numbers.append(seen.event["data"])
            if len(numbers) == count:
                break
    return numbers


async def test_it_goes_on_after_what_came_whole() -> None:
    made = Gateway(b"id: e:0\n\n" + told(1) + told(2)[:-1], b"", httpx.Response(503), told(2) + told(3))
    assert await taken(made, 3) == [1, 2, 3]
    assert made.resumed == [None, "e:1", "e:1", "e:1"]


async def test_it_goes_on_where_an_idle_stream_was() -> None:
    made = Gateway(b"id: e:7\n\n", told(8))
    assert await taken(made, 1) == [8]
    assert made.resumed == [None, "e:7"]


async def test_what_was_left_out_is_fetched_in_pages() -> None:
    made = Gateway(resync("e:2", "e:7", "expired") + told(8), holds=range(1, 20), page=2)
    assert await taken(made, 6, project=PROJECT, after="e:2") == [3, 4, 5, 6, 7, 8]


async def test_pages_on_which_nothing_is_wanted_do_not_end_it() -> None:
    made = Gateway(resync("e:0", "e:8", "expired") + told(9), holds=range(1, 9), page=1)
    assert await taken(made, 5, project=PROJECT, types=["a.*"], after="e:0") == [2, 4, 6, 8, 9]


async def test_what_comes_late_repeats_nothing() -> None:
    made = Gateway(told(1) + told(3) + told(4) + resync("e:1", "e:4") + told(5), holds=range(1, 6))
    assert await taken(made, 5, project=PROJECT) == [1, 3, 4, 2, 5]


async def test_a_cut_while_pages_are_read_repeats_nothing() -> None:
    made = Gateway(
        told(1) + resync("e:1", "e:4", "expired"), resync("e:2", "e:5", "expired"), holds=range(1, 6), page=1
    )
    broken: list[str | None] = []

    def once(after: str | None) -> bool:
        if after == "e:2" and not broken:
            broken.append(after)
            raise httpx.ReadError("cut")
        return False

    made.refuses_pages = once
    assert await taken(made, 5, project=PROJECT) == [1, 2, 3, 4, 5]
    assert made.resumed == [None, "e:2"]


async def test_older_than_what_is_kept_begins_with_what_there_is() -> None:
    made = Gateway(resync("x:5", "e:2", "expired") + told(3), holds=range(1, 4))
    made.refuses_pages = lambda after: after is not None and after.startswith("x")
    assert await taken(made, 3, project=PROJECT, after="x:5") == [1, 2, 3]
    made = Gateway(resync("e:5", "e:9", "expired"))
    made.refuses_pages = lambda _after: True
    with pytest.raises(SignalboxError, match="No"):
        await taken(made, 1, project=PROJECT)
    assert made.asked == ["e:5", None]


async def test_without_a_project_it_says_what_it_missed() -> None:
    with pytest.raises(ResyncRequired) as missed:
        await taken(Gateway(told(1) + resync("e:1", "e:4")), 2)
    assert (missed.value.after, missed.value.at) == ("e:1", "e:4")
    slow = Gateway(told(1) + resync("e:1", "e:1", "slow"), told(2))
    assert await taken(slow, 2) == [1, 2], "nothing is left out: it connects again"


@pytest.mark.parametrize("status", [401, 403, 404, 422])
async def test_what_is_refused_for_good_is_raised(status: int) -> None:
    with pytest.raises(SignalboxError) as refused:
        await taken(Gateway(refusal(status, "refused")), 1)
    assert (refused.value.status, refused.value.code) == (status, "refused")


async def test_who_is_not_signalbox_is_told() -> None:
    with pytest.raises(SignalboxError, match="is this Signalbox"):
        await taken(Gateway(httpx.Response(404, text="<html>")), 1)


async def test_what_may_pass_is_tried_again() -> None:
    made = Gateway(refusal(503, "unavailable"), httpx.Response(502, text="<html>"), told(1))
    assert await taken(made, 1) == [1]
