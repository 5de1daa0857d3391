"""Following changes across streams that end, break and fall behind."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_cli.catalog.api import Catalog
from signalbox_cli.catalog.watch import Event, Watch, events, merged
from signalbox_cli.client import Client
from signalbox_common.contracts.catalog import KindEntry, WatchedChange
from signalbox_common.errors import Forbidden, SignalboxError

BOT = KindEntry(
    kind="Bot", plural="bots", singular="bot", short_names=(), api_version="v1", description="", refers_to=()
)


def resource(name: str, version: int) -> dict[str, Any]:
    return {
        "apiVersion": "signalbox.dev/v1",
        "kind": "Bot",
        "metadata": {
            "name": name,
            "namespace": "me",
            "uid": f"0198c0de-0000-7000-8000-{ord(name):012}",
            "createdBy": "0198c0de-0000-7000-8000-000000000001",
            "createdAt": "2026-01-02T03:04:05Z",
            "updatedAt": "2026-01-02T03:04:05Z",
            "generation": 1,
            "resourceVersion": str(version),
        },
        "spec": {},
        "status": {},
    }


def said(kind: str, name: str, version: int, *, first: bool = False) -> bytes:
    """As the gateway writes it; of what there is, without an id."""
    number = "" if first else f"id: {version}\n"
    data = json.dumps({"type": kind, "object": resource(name, version)})
    return f"event: {kind}\n{number}data: {data}\n\n".encode()


def bookmark(version: int) -> bytes:
    data = json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}})
    return f"event: BOOKMARK\nid: {version}\ndata: {data}\n\n".encode()


class Broken(httpx.SyncByteStream):
    """A body whose connection breaks."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        raise httpx.RemoteProtocolError("peer closed connection")


class Server:
    """Answers one watch after the other as it is told, and remembers from where each wanted to go on."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.left = list(answers)
        self.asked: list[str | None] = []
        self.notes: list[str] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"namespace": "me", "watch": "true", "labelSelector": "a=b"}
        self.asked.append(request.headers.get("Last-Event-ID"))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self) -> Watch:
        http = Client("http://signalbox.example", transport=httpx.MockTransport(self))
        return Watch(
            Catalog(http, "me"), BOT, selector="a=b", note=self.notes.append, sleep=self.pauses.append
        )

    def seen(self, count: int) -> list[tuple[str, str, str]]:
        return [short(change) for change in islice(self.watch(), count)]


def short(change: WatchedChange) -> tuple[str, str, str]:
    metadata = change.object.metadata
    return (str(change.type), metadata.name, metadata.resource_version)


def stream(*parts: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"retry: 1000\n\n" + b"".join(parts))


def refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": "No."})


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1),
    data=st.data(),
)
def test_events_come_whole_however_they_are_cut(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(f"event: X\nid: {n}\ndata: {text}\n\n" for n, text in enumerate(texts)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert list(events(chunks)) == [Event(text, str(n)) for n, text in enumerate(texts)]


def test_half_an_event_is_none() -> None:
    assert list(events([b"retry: 1000\n\n: alive\n\ndata: a\ndata: b\r\n\r\nid: 3\ndata: c\n"])) == [
        Event("a\nb")
    ]


def test_it_goes_on_where_it_was() -> None:
    server = Server(
        stream(said("ADDED", "a", 1, first=True), bookmark(4), said("MODIFIED", "a", 5)),
        httpx.Response(200, stream=Broken(said("DELETED", "a", 6), bookmark(9))),
        refused(503, "unavailable"),
        httpx.ConnectError("refused"),
        stream(said("ADDED", "b", 10)),
    )
    assert server.seen(4) == [
        ("ADDED", "a", "1"),
        ("MODIFIED", "a", "5"),
        ("DELETED", "a", "6"),
        ("ADDED", "b", "10"),
    ]
    assert server.asked == [None, "5", "9", "9", "9"]
    assert [note.split(":")[0] for note in server.notes] == [
        "the connection broke (peer closed connection)",
        "No. Trying again.",
        "the connection broke (refused)",
    ]
    assert server.pauses == [0.5, 0.5, 1.0, 2.0], "longer and longer, until it works again"


def test_a_snapshot_that_was_cut_is_not_told_twice() -> None:
    server = Server(
        httpx.Response(200, stream=Broken(said("ADDED", "a", 1, first=True))),
        stream(
            said("ADDED", "a", 1, first=True),
            said("ADDED", "b", 2, first=True),
            bookmark(2),
            said("ADDED", "c", 3),
        ),
    )
    assert server.seen(3) == [("ADDED", "a", "1"), ("ADDED", "b", "2"), ("ADDED", "c", "3")]
    assert server.asked == [None, None]


def test_who_fell_too_far_behind_is_told_the_difference() -> None:
    server = Server(
        stream(*(said("ADDED", name, 1, first=True) for name in "abc"), bookmark(1)),
        refused(410, "expired"),
        stream(
            said("ADDED", "b", 1, first=True),
            said("ADDED", "c", 7, first=True),
            said("ADDED", "d", 8, first=True),
            bookmark(8),
        ),
        stream(said("DELETED", "d", 9)),
    )
    assert server.seen(7)[3:] == [
        ("MODIFIED", "c", "7"),
        ("ADDED", "d", "8"),
        ("DELETED", "a", "1"),
        ("DELETED", "d", "9"),
    ]
    assert server.asked == [None, "1", None, "8"]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([httpx.ConnectError("refused")], httpx.ConnectError),
        ([refused(503, "unavailable")], SignalboxError),
        ([refused(404, "project_not_found")], SignalboxError),
        ([stream(bookmark(1)), refused(404, "project_not_found")], SignalboxError),
        ([refused(410, "expired")], SignalboxError),
    ],
)
def test_what_will_not_work_ends_it(
    answers: list[httpx.Response | Exception], error: type[Exception]
) -> None:
    server = Server(*answers)
    with pytest.raises(error):
        server.seen(1)
    assert server.left == []


def test_several_are_followed_at_once() -> None:
    def failing() -> Iterator[WatchedChange]:
        yield from ()
        raise Forbidden("You may not.")

    changes = [
        [WatchedChange.model_validate({"type": "ADDED", "object": resource(name, 1)})] for name in "ab"
    ]
    several = islice(merged(changes), 2)
    assert {short(change) for change in several} == {("ADDED", "a", "1"), ("ADDED", "b", "1")}
    with pytest.raises(SignalboxError, match="You may not"):
        list(merged([*changes, failing()]))
