"""Differences as people read them, and changes that go on after their answer."""

import httpx
import pytest

from signalbox_cli.catalog.differences import lines
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import Operation, wait_for
from signalbox_cli.client import Client
from signalbox_common.contracts.catalog import Change
from signalbox_common.errors import SignalboxError


def shown(*changes: Change) -> list[str]:
    return [text for _, text in lines(changes)]


def test_each_change_has_its_place() -> None:
    assert shown(
        Change(op="replace", path="/spec/a", old="x", new="3"),
        Change(op="add", path="/spec/list", new=["a", {"b": 1}]),
        Change(op="remove", path="/metadata/labels/app", old=True),
    ) == [
        "~ /spec/a",
        "    - x",
        "    + '3'",
        "+ /spec/list",
        "    + - a",
        "    + - b: 1",
        "- /metadata/labels/app",
        "    - true",
    ]


def test_what_nobody_has_said_is_no_difference() -> None:
    metadata = {"displayName": None, "labels": {}, "annotations": {"a": "b"}}
    assert shown(
        Change(op="add", path="/metadata", new={"displayName": None, "labels": {}}),
        Change(op="add", path="/metadata", new=metadata),
        Change(op="add", path="/spec/empty", new={}),
    ) == ["+ /metadata", "    + annotations:", "    +   a: b", "+ /spec/empty", "    + {}"]


def test_long_texts_show_what_is_around() -> None:
    old = "\n".join(f"line {n}" for n in range(20))
    told = shown(Change(op="replace", path="/spec/systemPrompt", old=old, new=old.replace("line 9", "other")))
    assert shown(Change(op="replace", path="/x", old="a\nb\n", new="a\nc\n"))[2:] == [
        "     a",
        "    -b",
        "    +c",
    ]
    assert shown(Change(op="replace", path="/x", old="a\nb", new="a\nb\n"))[2:] == [
        "     a",
        "     b",
        "    +",
    ]
    assert told == [
        "~ /spec/systemPrompt",
        "    @@ -7,7 +7,7 @@",
        *(f"     line {n}" for n in (6, 7, 8)),
        "    -line 9",
        "    +other",
        *(f"     line {n}" for n in (10, 11, 12)),
    ]


def test_keys_are_not_shown_and_terminals_not_moved() -> None:
    assert shown(Change(op="replace", path="/spec/key", old="***", new="***")) == [
        "~ /spec/key",
        "    ~ a stored key, which nobody is shown",
    ]
    assert "\x1b" not in "".join(shown(Change(op="add", path="/a\x1b[2J", new="b\x1b\nc")))


def test_colours_follow_the_signs() -> None:
    assert [style for style, _ in lines([Change(op="replace", path="/a", old=1, new=2)])] == [
        "yellow",
        "red",
        "green",
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now


def follow(first: httpx.Response, *polled: httpx.Response | Exception) -> Operation | None:
    left = list(polled)

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/operations/op_1"
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = Clock()
    http = Client("http://signalbox.example", transport=httpx.MockTransport(handle))
    return wait_for(http, first, sleep=clock.sleep, now=clock.time)


def operation(status: str, error: dict[str, object] | None = None) -> httpx.Response:
    code = 202 if status == "pending" else 200
    return httpx.Response(code, json={"id": "op_1", "status": status, "error": error})


def test_what_is_done_is_not_followed() -> None:
    assert not follow(httpx.Response(204))


def test_what_goes_on_is_followed_to_its_end() -> None:
    pending, lost = operation("pending"), httpx.ConnectError("away")
    assert follow(pending, pending, lost, httpx.Response(503, json={}), operation("succeeded"))


def test_how_it_ended_is_told() -> None:
    failure = {"code": "still_referenced", "status": 409, "detail": "It is referred to by bot b."}
    with pytest.raises(SignalboxError, match="referred to by bot b"):
        follow(operation("pending"), operation("failed", failure))
    with pytest.raises(Mistake, match="nothing was changed, try again"):
        follow(operation("pending"), operation("not_accepted"))
    with pytest.raises(Mistake, match="not done yet: /api/v1/operations/op_1"):
        follow(operation("pending"), httpx.Response(200, json={"id": "op_1", "status": "pending"}))
    with pytest.raises(SignalboxError, match="Signalbox"):
        follow(operation("pending"), httpx.Response(404))
