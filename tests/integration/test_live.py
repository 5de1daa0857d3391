"""Events as clients see them: streams, sockets, pages, and who may follow."""

import gc
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from signalbox_common.testing import eventually
from signalbox_gateway.live.connections import OpenConnection
from signalbox_gateway.live.subscriber import Subscriber
from signalbox_gateway.live.subscription import Subscriptions
from signalbox_gateway.live.transport import Transport
from tests.support.installation import Installation
from tests.support.live import SSE, said, say, socket, streaming
from tests.support.live_scene import Scene, live
from tests.support.pace import pace, soon


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with live(installation) as made:
        yield made


async def test_a_stream_goes_on_where_its_client_was(scene: Scene) -> None:
    async with streaming(scene.address, scene.me, project=scene.project) as stream:
        assert stream.answer is not None
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in stream.answer.headers
        begin = stream.blocks[0]
        assert (begin.data, begin.name) == (None, None)
        await scene.teller.tell(scene.project, 3)
        await stream.until(lambda: len(stream.events) == 3)
    assert stream.texts == ["1", "2", "3"]
    assert {event.name for event in stream.events} == {"tasks.lab.taken"}
    told = json.loads(stream.events[0].data or "")
    assert told["project"] == scene.project
    assert told["type"] == "tasks.lab.taken"
    assert told["source"] == "/signalbox/tasks"
    await scene.teller.tell(scene.project, 2)
    async with streaming(scene.address, scene.me, project=scene.project, after=stream.last_id) as again:
        await again.until(lambda: len(again.events) == 2)
        await scene.teller.tell(scene.project)
        await again.until(lambda: len(again.events) == 3)
    assert again.texts == ["4", "5", "6"]
    async with streaming(scene.address, scene.me, project=scene.project, lastEventId=begin.id) as whole:
        await whole.until(lambda: len(whole.events) == 6)
    assert whole.texts == ["1", "2", "3", "4", "5", "6"]
    assert [each["data"]["text"] for each in await scene.pages(begin.id, limit=2)] == whole.texts


async def test_all_projects_of_a_person_at_once(scene: Scene) -> None:
    other = await scene.http.project(scene.me, "Other")
    stranger = await scene.http.sign_up()
    theirs = await scene.http.project(stranger, "Theirs")
    async with streaming(scene.address, scene.me) as stream:
        for project in (scene.project, theirs, other, scene.project):
            await scene.teller.tell(project)
        await stream.until(lambda: len(stream.events) == 3)
    assert stream.texts == ["1", "3", "4"]


@pytest.mark.parametrize("status", ["100", "204", "404", "409"])
async def test_an_event_that_looks_like_a_word_of_the_server(scene: Scene, status: str) -> None:
    headers = {"Status": status, "ce-id": "1", "ce-source": "/signalbox/tasks", "ce-type": "tasks.lab.taken"}
    begin = (await scene.pages())[-1]["position"]
    async with streaming(scene.address, scene.me, project=scene.project) as stream:
        async with scene.installation.nats("tasks") as client:
            subject = f"evt.{scene.project}.tasks.lab.taken"
            await client.jetstream().publish(subject, b'{"text": "odd"}', headers=headers)
        await scene.teller.tell(scene.project)
        await stream.until(lambda: len(stream.events) == 2)
    assert stream.texts == ["odd", "1"]
    assert [each["data"]["text"] for each in await scene.pages(begin)] == ["odd", "1"]


async def test_only_the_types_that_are_wanted(scene: Scene) -> None:
    async with (
        streaming(scene.address, scene.me, project=scene.project, types="auth.*,ext.ci.done") as some,
        streaming(scene.address, scene.me, project=scene.project) as all_,
    ):
        await scene.teller.tell(scene.project)
        await scene.http.patch(f"/api/v1/projects/{scene.project}", json={"name": "New"}, headers=scene.me)
        await all_.until(lambda: len(all_.events) == 2)
        await some.until(lambda: some.events)
        assert [event.name for event in some.events] == ["auth.project.updated"]


async def test_one_operation(scene: Scene) -> None:
    answer = await scene.http.patch(
        f"/api/v1/projects/{scene.project}", json={"name": "New"}, headers=scene.me
    )
    operation = answer.headers["x-operation-id"]
    path = f"/api/v1/operations/{operation}/events"
    begin = (await scene.pages())[0]["position"]
    async with streaming(scene.address, scene.me, path, after=begin) as stream:
        await stream.until(lambda: stream.events)
        await scene.teller.tell(scene.project)
        await scene.teller.tell(scene.project)
        assert [event.name for event in stream.events] == ["auth.project.updated"]
    stranger = await scene.http.sign_up()
    refused = await scene.http.get(path, headers=stranger)
    assert (refused.status_code, refused.json()["code"]) == (404, "operation_not_found")


async def test_many_subscriptions_on_one_socket(scene: Scene) -> None:
    other = await scene.http.project(scene.me, "Other")
    async with socket(scene.address, scene.me) as connection:
        await say(connection, type="ping")
        assert await said(connection) == {"type": "pong"}
        for ref, project in (("a", scene.project), ("b", other)):
            await say(connection, type="subscribe", ref=ref, project=project)
            subscribed = await said(connection)
            assert subscribed.pop("at")
            assert subscribed == {"type": "subscribed", "ref": ref}
        await scene.teller.tell(scene.project)
        await scene.teller.tell(other)
        first, second = await said(connection), await said(connection)
        assert (first["ref"], second["ref"]) == ("a", "b")
        assert first["event"]["data"] == {"text": "1"}
        await say(connection, type="unsubscribe", ref="a")
        assert await said(connection) == {"type": "unsubscribed", "ref": "a"}
        await scene.teller.tell(scene.project)
        await scene.teller.tell(other)
        assert (await said(connection))["event"]["data"] == {"text": "4"}
        await say(connection, type="subscribe", ref="a", project=scene.project, resumeFrom=first["id"])
        assert (await said(connection))["at"] == first["id"]
        assert (await said(connection))["event"]["data"] == {"text": "3"}
        await say(connection, type="subscribe", ref="a", project=scene.project)
        assert (await said(connection))["code"] == "ref_taken"
        await say(connection, type="subscribe", ref="c", project=scene.project, types=["auth.*"])
        assert (await said(connection))["type"] == "subscribed"


@pytest.mark.parametrize(
    "position", ["", "x", "0" * 16, "0" * 16 + ":-1", "g" * 16 + ":1", "0" * 16 + ":" + "9" * 30]
)
async def test_what_is_no_position_is_refused(scene: Scene, position: str) -> None:
    query = {"project": scene.project, "lastEventId": position or "?"}
    refused = await scene.http.get(SSE, params=query, headers=scene.me)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_offset")
    async with socket(scene.address, scene.me) as connection:
        await say(connection, type="subscribe", ref="a", project=scene.project, resumeFrom=position or "?")
        assert (await said(connection))["code"] == "bad_offset"


async def test_a_position_of_another_stream_begins_anew(scene: Scene) -> None:
    """Said at once, with where the stream goes on; nothing of what follows is missed."""
    foreign = "0123456789abcdef:17"
    async with streaming(scene.address, scene.me, project=scene.project, after=foreign) as stream:
        await stream.until(lambda: len(stream.blocks) == 2)
        resync = next(block for block in stream.blocks if block.name == "resync")
        told = json.loads(resync.data or "")
        assert told == {"at": resync.id, "after": None, "reason": "expired"}
        await scene.teller.tell(scene.project)
        await stream.until(lambda: stream.events)
    gone = await scene.http.get(
        f"/api/v1/projects/{scene.project}/events", params={"after": foreign}, headers=scene.me
    )
    assert (gone.status_code, gone.json()["code"]) == (410, "expired")
    async with socket(scene.address, scene.me) as connection:
        await say(connection, type="subscribe", ref="a", project=scene.project, resumeFrom=foreign)
        assert (await said(connection))["type"] == "subscribed"
        assert (await said(connection))["type"] == "resync"


async def test_what_has_ended_is_gone_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when somebody looks for garbage: the more connections there are, the longer that takes."""
    monkeypatch.setattr("signalbox_gateway.live.keepalive.KEEPALIVE_EVERY", 1)

    def alive() -> Counter[str]:
        kinds = {Transport, Subscriber, Subscriptions, OpenConnection}
        return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in kinds)

    async def as_before() -> bool:
        assert alive() == before
        return True

    gc.collect()
    gc.disable()
    before = alive()  # plain requests have a connection, too
    try:
        for _ in range(3):
            async with (
                streaming(scene.address, scene.me, project=scene.project) as stream,
                socket(scene.address, scene.me) as connection,
                socket(scene.address, scene.me) as cut_off,
            ):
                for each in (connection, cut_off):
                    await say(each, type="subscribe", ref="a", project=scene.project)
                    assert (await said(each))["type"] == "subscribed"
                await scene.teller.tell(scene.project)
                await stream.until(lambda it=stream: it.events and it.comments)  # type: ignore[misc]  # the loop's own
                assert {"Subscriber": 3, "Subscriptions": 2, "OpenConnection": 3}.items() <= (
                    alive() - before
                ).items()
                cut_off.transport.abort()
            await eventually(as_before, what="nothing is left of them")
    finally:
        gc.enable()


# -- who may follow ---------------------------------------------------------------------------------------


async def test_strangers_follow_nothing(scene: Scene) -> None:
    stranger = await scene.http.sign_up()
    own = await scene.http.project(stranger, "Own")
    position = (await scene.pages())[0]["position"]
    for query in ({"project": scene.project}, {"project": scene.project, "lastEventId": position}):
        refused = await scene.http.get(SSE, params=query, headers=stranger)
        assert (refused.status_code, refused.json()["code"]) == (404, "project_not_found")
    pages = await scene.http.get(f"/api/v1/projects/{scene.project}/events", headers=stranger)
    assert pages.status_code == 404
    async with socket(scene.address, stranger) as connection:
        for project in (scene.project, str(uuid.uuid4())):
            await say(connection, type="subscribe", ref="a", project=project, resumeFrom=position)
            assert (await said(connection))["code"] == "project_not_found"
        # A place in the one stream tells nothing of others' events in it.
        await say(connection, type="subscribe", ref="own", project=own, resumeFrom=position)
        assert (await said(connection))["type"] == "subscribed"
        await scene.teller.tell(scene.project)
        await scene.teller.tell(own)
        seen = [await said(connection)]
        while seen[-1]["event"]["type"] != "tasks.lab.taken":
            seen.append(await said(connection))
        assert {each["event"]["project"] for each in seen} == {own}
        # Neither do operations of others, nor channels that only look like ones.
        for operation in ("op_guess", f"*{scene.project}"):
            await say(connection, type="subscribe", ref=operation, project=own, operation=operation)
            assert (await said(connection))["type"] == "subscribed"
        await scene.teller.tell(scene.project)
        await scene.teller.tell(own)
        assert (await said(connection))["event"]["project"] == own


async def test_a_removed_member_sees_nothing_more_within_a_second(scene: Scene) -> None:
    member = await scene.http.join(scene.me, scene.project, "viewer")
    member_id = (await scene.http.me(member))["id"]
    own = await scene.http.project(member, "Own")
    async with (
        streaming(scene.address, member, project=scene.project) as stream,
        socket(scene.address, member) as connection,
    ):
        for ref, project in (("theirs", scene.project), ("own", own)):
            await say(connection, type="subscribe", ref=ref, project=project)
            assert (await said(connection))["type"] == "subscribed"
        where = f"/api/v1/projects/{scene.project}/members/{member_id}"
        control = await pace(lambda: scene.http.me(scene.me))
        assert (await scene.http.delete(where, headers=scene.me)).status_code == 204
        began = time.perf_counter()
        await stream.until(lambda: stream.ended)
        while (told := await said(connection))["type"] != "error":
            assert told["event"]["type"] == "auth.member.removed", told
        assert time.perf_counter() - began < soon(control)
        assert (told["ref"], told["code"]) == ("theirs", "project_not_found")
        await scene.teller.tell(scene.project)
        await scene.teller.tell(own)
        assert (await said(connection))["ref"] == "own"


async def test_logging_out_ends_streams_within_a_second(scene: Scene) -> None:
    control = await pace(lambda: scene.http.me(scene.me))
    async with streaming(scene.address, scene.me, project=scene.project) as stream:
        assert (await scene.http.post("/api/v1/auth/logout", headers=scene.me)).status_code == 204
        await stream.until(lambda: stream.ended, within=soon(control))


async def test_a_token_for_other_things_follows_nothing(scene: Scene) -> None:
    async def machine(*scopes: str) -> dict[str, str]:
        body = {"name": "m", "scopes": list(scopes)}
        made = await scene.http.post("/api/v1/auth/tokens", json=body, headers=scene.me)
        assert made.status_code == 201, made.text
        return {"Authorization": f"Bearer {made.json()['token']}"}

    where = f"/api/v1/projects/{scene.project}/events"
    nothing = await machine("projects:read")
    assert (await scene.http.get(where, headers=nothing)).json()["code"] == "insufficient_scope"
    refused = await scene.http.get(SSE, params={"project": scene.project}, headers=nothing)
    assert refused.json()["code"] == "insufficient_scope"
    reads = await machine("events:read")
    assert (await scene.http.get(where, headers=reads)).status_code == 200
    body = {"type": "ext.ci.done"}
    assert (await scene.http.post(where, json=body, headers=reads)).json()["code"] == "insufficient_scope"
    writes = await machine("events:write")
    assert (await scene.http.post(where, json=body, headers=writes)).status_code == 202
