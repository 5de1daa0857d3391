"""What clients do wrong, and events from outside."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.installation import Installation
from tests.support.live import SSE, Stream, said, say, socket, streaming
from tests.support.live_scene import Scene, live


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with live(installation) as made:
        yield made


# -- what clients do wrong --------------------------------------------------------------------------------


async def test_a_ticket_opens_a_stream_once(scene: Scene) -> None:
    ticket = (await scene.http.post("/api/v1/auth/ws-ticket", headers=scene.me)).json()["ticket"]
    async with streaming(scene.address, {}, project=scene.project, ticket=ticket) as stream:
        assert stream.answer is not None
        assert stream.answer.status_code == 200
    again = await scene.http.get(SSE, params={"project": scene.project, "ticket": ticket})
    assert (again.status_code, again.json()["code"]) == (401, "bad_ticket")


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x00\x01", 1003), ("x" * 70_000, 1009), ("[" * 60_000, None), ("null", None), ("{}", None)],
    ids=["binary", "giant", "deep", "null", "empty"],
)
async def test_frames_that_are_no_messages(scene: Scene, frame: str | bytes, code: int | None) -> None:
    async with socket(scene.address, scene.me) as connection:
        await connection.send(frame)
        if code is None:
            assert (await said(connection))["code"] == "unknown_message"
            await say(connection, type="ping")
            assert await said(connection) == {"type": "pong"}
            return
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(connection.recv(), 5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


@pytest.mark.parametrize(
    "message",
    [
        {"ref": "a"},
        {"ref": "a", "project": "x"},
        {"ref": "", "project": str(uuid.uuid4())},
        {"ref": ["a"] * 10_000, "project": str(uuid.uuid4())},
        {"ref": "a", "project": [str(uuid.uuid4())] * 1_000},
        {"ref": "a", "project": str(uuid.uuid4()), "types": ["t"] * 1_000},
        {"ref": "a", "project": str(uuid.uuid4()), "operation": 5},
    ],
)
async def test_subscriptions_that_are_none(scene: Scene, message: dict[str, Any]) -> None:
    async with socket(scene.address, scene.me) as connection:
        await say(connection, type="subscribe", **message)
        assert (await said(connection))["code"] == "bad_subscription"
        await say(connection, type="unsubscribe", ref=message.get("ref"))
        assert (await said(connection))["code"] == "unknown_ref"


async def test_a_connection_has_so_many_subscriptions_and_no_more(scene: Scene) -> None:
    async with socket(scene.address, scene.me) as connection:
        answers: list[str] = []
        for number in range(210):
            await say(connection, type="subscribe", ref=str(number), project=scene.project)
            told = await said(connection)
            answers.append(told.get("code", told["type"]))
        assert answers == ["subscribed"] * 200 + ["too_many_subscriptions"] * 10
        await scene.teller.tell(scene.project)
        refs = {(await said(connection))["ref"] for _ in range(200)}
        assert len(refs) == 200


async def test_half_a_handshake_does_not_stay(scene: Scene) -> None:
    async with scene.installation.served_gateway(head_timeout=0.5) as (_, address):
        host, _, port = address.partition(":")
        for head in (b"", b"GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head)
            with_end = await asyncio.wait_for(reader.read(), 30)
            assert with_end == b""
            writer.close()


async def test_a_slow_reader_costs_itself_only(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads beside it waits for one event no longer than for a hundred without it."""
    monkeypatch.setattr("signalbox_gateway.live.transport.CLOSE_WITHIN", 60)  # until it reads on below
    text = "x" * 30_000

    async def longest(stream: Stream, count: int) -> float:
        slowest = 0.0
        for _ in range(count):
            began, wanted = time.perf_counter(), len(stream.events) + 1
            await scene.teller.tell(scene.project, text=text)
            await stream.until(lambda wanted=wanted: len(stream.events) == wanted)  # type: ignore[misc]
            slowest = max(slowest, time.perf_counter() - began)
        return slowest

    async with streaming(scene.address, scene.me, project=scene.project) as alone:
        await longest(alone, 1)  # whoever copies has to start first
        began = time.perf_counter()
        await longest(alone, 100)
        control = time.perf_counter() - began
    host, _, port = scene.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    token = scene.me["Authorization"]
    request = f"GET {SSE}?project={scene.project} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
    writer.write(request.encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    async with streaming(scene.address, scene.me, project=scene.project) as other:
        slowest = await longest(other, 400)
        rest = await asyncio.wait_for(reader.read(), 60)
        assert reader.at_eof()
        assert b"event: resync" in rest[-600:]
        assert slowest < control
        assert len(rest) < 20 * 1024 * 1024
    writer.close()


# -- from outside -----------------------------------------------------------------------------------------


async def test_an_event_from_outside(scene: Scene) -> None:
    where = f"/api/v1/projects/{scene.project}/events"
    async with streaming(scene.address, scene.me, project=scene.project) as stream:
        body = {
            "specversion": "1.0",
            "type": "ext.ci.finished",
            "id": "17",
            "source": "/ci",
            "data": {"ok": True},
        }
        for _ in range(2):
            answer = await scene.http.post(where, json=body, headers=scene.me)
            assert (answer.status_code, answer.json()) == (202, {"id": "17"})
        keyed = scene.me | {"Idempotency-Key": "k"}
        ids = {
            (await scene.http.post(where, json={"type": "ext.a"}, headers=keyed)).json()["id"] for _ in "ab"
        }
        assert len(ids) == 1
        await scene.http.post(where, json={"type": "ext.end"}, headers=scene.me)
        await stream.until(lambda: [event.name for event in stream.events][-1:] == ["ext.end"])
    assert [event.name for event in stream.events] == ["ext.ci.finished", "ext.a", "ext.end"]
    told = json.loads(stream.events[0].data or "")
    user = (await scene.http.get("/api/v1/auth/me", headers=scene.me)).json()["id"]
    stamp = f"/projects/{scene.project}/users/{user}"
    assert (told["id"], told["source"], told["data"]) == ("17", f"{stamp}#/ci", {"ok": True})
    assert told["claimedsource"] == "/ci"
    assert json.loads(stream.events[1].data or "")["source"] == stamp, "who names none is the source"
    assert told["project"] == scene.project


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ([], "", "bad_event"),
        ({}, "type", "bad_type"),
        ({"type": "tasks.task.created"}, "type", "bad_type"),
        ({"type": "ext"}, "type", "bad_type"),
        ({"type": "ext.a.b.c.d.e"}, "type", "bad_type"),
        ({"type": "ext.a b"}, "type", "bad_type"),
        ({"type": "ext.>"}, "type", "bad_type"),
        ({"type": "ext.a\n"}, "type", "bad_attribute"),
        ({"type": "ext.a", "id": ""}, "id", "bad_id"),
        ({"type": "ext.a", "id": 5}, "id", "bad_attribute"),
        ({"type": "ext.a", "id": "x\r\nce-type: tasks"}, "id", "bad_attribute"),
        ({"type": "ext.a", "source": "/signalbox/auth"}, "source", "bad_source"),
        ({"type": "ext.a", "time": "yesterday"}, "time", "bad_time"),
        ({"type": "ext.a", "time": "2026-01-01T00:00:00"}, "time", "bad_time"),
        ({"type": "ext.a", "specversion": "0.3"}, "specversion", "bad_version"),
        ({"type": "ext.a", "operation": "op_x"}, "operation", "bad_operation"),
        ({"type": "ext.a", "project": str(uuid.uuid4())}, "project", "bad_project"),
        ({"type": "ext.a", "data": "x" * 70_000}, "data", "too_large"),
        ({"type": "ext.a", "data_base64": "eA=="}, "data_base64", "unknown_attribute"),
    ],
)
async def test_what_is_no_event_is_refused(scene: Scene, body: Any, field: str, code: str) -> None:
    where = f"/api/v1/projects/{scene.project}/events"
    answer = await scene.http.post(where, json=body, headers=scene.me)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "bad_event"
    assert [(each["field"], each["code"]) for each in problem["errors"]] == [(field, code)]
    assert await scene.installation.messages("EXTERNAL", f"ext.users.*.{scene.project}.>") == []


async def test_an_operation_of_another_project_is_not_named(scene: Scene) -> None:
    other = await scene.http.project(scene.me, "Other")
    changed = await scene.http.patch(f"/api/v1/projects/{other}", json={"name": "N"}, headers=scene.me)
    operation = changed.headers["x-operation-id"]
    body = {"type": "ext.a", "operation": operation}
    for project, status in ((scene.project, 422), (other, 202)):
        where = f"/api/v1/projects/{project}/events"
        assert (await scene.http.post(where, json=body, headers=scene.me)).status_code == status
    viewer = await scene.http.join(scene.me, other, "viewer")
    refused = await scene.http.post(f"/api/v1/projects/{other}/events", json=body, headers=viewer)
    assert (refused.status_code, refused.json()["code"]) == (403, "role_too_low")


@pytest.mark.fresh
async def test_what_is_no_event_becomes_a_dead_letter(scene: Scene) -> None:
    good = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/ci", "ce-type": "ext.ci.done"}
    structured = {"specversion": "1.0", "id": "2", "source": "/ci", "type": "ext.ci.done", "data": [1]}
    bad: list[tuple[str, dict[str, str], bytes]] = [
        ("ci.done", {}, b"{}"),
        ("ci.done", good | {"ce-type": "tasks.task.created"}, b"{}"),
        ("ci.other", good, b"{}"),
        ("ci.done", good | {"ce-specversion": "0.3"}, b"{}"),
        ("ci.done", good, b"{"),
        ("ci.done", good, b'"' + b"x" * 70_000 + b'"'),
        ("ci.done", good | {"ce-source": "/signalbox/auth"}, b"{}"),
        ("ci.done", good | {"ce-project": str(uuid.uuid4())}, b"{}"),
        ("ci.done", {"content-type": "application/cloudevents+json"}, b"[]"),
        ("a.b.c.d.e", good | {"ce-type": "ext.a.b.c.d.e"}, b"{}"),
    ]
    async with (
        streaming(scene.address, scene.me, project=scene.project) as stream,
        scene.installation.nats() as client,
    ):
        jetstream = client.jetstream()
        for subject, headers, body in bad:
            await jetstream.publish(f"ext.{scene.project}.{subject}", body, headers=headers)
        await jetstream.publish("ext.nobody.ci.done", b"{}", headers=good)
        await jetstream.publish(f"ext.{scene.project}.ci.done", b'{"n": 1}', headers=good)
        await jetstream.publish(
            f"ext.{scene.project}.ext.ci.done",
            json.dumps(structured).encode(),
            headers={"content-type": "application/cloudevents+json"},
        )
        await stream.until(lambda: len(stream.events) == 2)
    assert [json.loads(event.data or "")["data"] for event in stream.events] == [{"n": 1}, [1]]
    letters = await scene.installation.messages("DEAD_LETTERS")
    assert len(letters) == len(bad) + 1
    assert {letter.headers["Signalbox-Consumer"] for letter in letters} == {"fanout-ingest"}
    assert await scene.installation.messages("EVENTS", "evt.*.tasks.task.created") == []
