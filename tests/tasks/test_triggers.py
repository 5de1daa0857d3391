"""Triggers: tasks that are started by what others send, each delivery once, and by nobody else."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from signalbox_common.testing import eventually
from signalbox_tasks.service import signing_secrets
from signalbox_tasks.triggers import matches
from tests.support.installation import Installation
from tests.support.live import fanout
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")

TRIGGERS, HOOKS = "/api/v1/triggers", "/api/v1/hooks"
ECHO = {"title": "Look at ${REF}", "exec": {"script": 'echo "$REF $COUNT $WHOLE"'}}
MAPPED = {"REF": "$.ref", "COUNT": "$.commits[0]['how many']", "WHOLE": "$.head"}
PUSH = {"ref": "main; rm -rf /", "commits": [{"how many": 3}], "head": {"id": None, "ok": True}}
NOTHING = {"title": "Do nothing", "noop": {}}


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        scene.service(),
        fanout(shared_installation),
    ):
        yield scene


async def trigger(
    there: TaskScene, *, status: int = 201, headers: dict[str, str] | None = None, **body: Any
) -> Any:
    """Once it may act."""
    given = {"name": f"t {uuid.uuid4().hex[:8]}", "task": NOTHING, "projectId": there.project} | body
    made = await there.ask("POST", TRIGGERS, status=status, json=given, headers=headers or there.headers)
    if status == 201:

        async def ready() -> bool:
            async with there.installation.sql() as sql:
                found = await sql.fetchval(
                    "select delegated from tasks.triggers where id = $1", uuid.UUID(made["trigger"]["id"])
                )
            return bool(found)

        await eventually(ready, what="it may act")
    return made


async def send(
    there: TaskScene,
    made: Any,
    payload: Any = None,
    *,
    status: int = 200,
    body: bytes | None = None,
    **headers: str,
) -> Any:
    content = body if body is not None else json.dumps(payload if payload is not None else {}).encode()
    given = {"content-type": "application/json"} | {
        name.replace("_", "-"): each for name, each in headers.items()
    }
    answer = await there.http.post(f"{HOOKS}/{made['token']}", content=content, headers=given)
    assert answer.status_code == status, answer.text
    return answer.json()


async def history(there: TaskScene, made: Any) -> list[Any]:
    found: list[Any] = (await there.ask("GET", f"{TRIGGERS}/{made['trigger']['id']}/history"))["items"]
    return found


def signed_by_github(made: Any, body: bytes) -> str:
    return "sha256=" + hmac.new(made["secret"].encode(), body, hashlib.sha256).hexdigest()


def signed(made: Any, delivery: str, at: int, body: bytes) -> str:
    secret = made["secret"].removeprefix("whsec_")
    key = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    content = f"{delivery}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


async def test_what_is_sent_becomes_a_task(there: TaskScene) -> None:
    made = await trigger(there, task=ECHO, parameters=MAPPED, when={"$.commits[0]['how many']": ["3", "4"]})
    found = made["trigger"]
    assert (found["verify"], made["secret"], found["paused"]) == ("token", None, False)
    called = await send(there, made, PUSH)
    assert (called["outcome"], called["size"]) == ("started", len(json.dumps(PUSH)))
    assert called["digest"] == hashlib.sha256(json.dumps(PUSH).encode()).hexdigest()
    task = await there.ended(await there.task(called["taskId"]))
    assert (task["title"], task["triggerId"]) == ("Look at main; rm -rf /", found["id"])
    assert await there.log(task["runId"]) == 'main; rm -rf / 3 {"id":null,"ok":true}\n'
    ignored = await send(there, made, PUSH | {"commits": [{"how many": 5}]})
    assert (ignored["outcome"], ignored["reason"], ignored["taskId"]) == ("ignored", "no_match", None)
    failed = await send(there, made, {"commits": [{"how many": 3}]})
    assert (failed["outcome"], failed["reason"]) == ("failed", "parameter_missing")
    assert [each["outcome"] for each in await history(there, made)] == ["failed", "ignored", "started"]
    listed = await there.ask(
        "GET", "/api/v1/tasks", params={"triggerId": found["id"], "projectId": there.project}
    )
    assert [each["id"] for each in listed["items"]] == [task["id"]]
    assert (await there.ask("GET", f"{TRIGGERS}/{found['id']}"))["lastTaskId"] == task["id"]


async def test_a_delivery_counts_once(there: TaskScene) -> None:
    """However often it comes, and at the same time."""
    made = await trigger(there)
    answers = await gathered(*(send(there, made, idempotency_key="17") for _ in range(10)))
    assert len({each["taskId"] for each in answers}) == 1
    assert (await send(there, made, idempotency_key="18"))["taskId"] != answers[0]["taskId"]
    assert len(await history(there, made)) == 2


async def test_signed_as_github_does(there: TaskScene) -> None:
    made = await trigger(there, verify="github", task=ECHO, parameters=MAPPED)
    body = json.dumps(PUSH).encode()
    right = signed_by_github(made, body)
    first = await send(there, made, body=body, x_hub_signature_256=right, x_github_delivery="a")
    again = await send(there, made, body=body, x_hub_signature_256=right, x_github_delivery="b")
    assert first == again  # what is called its delivery is not signed
    assert await there.ended(await there.task(first["taskId"]))
    forged = {"x_hub_signature_256": signed_by_github({"secret": "other"}, body)}
    for wrong in (forged, {}, {"x_hub_signature_256": "sha256="}):
        assert (await send(there, made, body=body, status=401, **wrong))["code"] == "bad_signature"
    changed = json.dumps(PUSH | {"ref": "evil"}).encode()
    assert (await send(there, made, body=changed, status=401, x_hub_signature_256=right))["code"]
    assert len(await history(there, made)) == 1


async def test_signed_with_a_time(there: TaskScene) -> None:
    made = await trigger(there, verify="standard")
    body, now = b'{"a": 1}', int(time.time())

    async def sent(delivery: str, at: int, signature: str, *, status: int = 200) -> Any:
        headers = {"webhook_id": delivery, "webhook_timestamp": str(at), "webhook_signature": signature}
        return await send(there, made, body=body, status=status, **headers)

    first = await sent("m1", now, signed(made, "m1", now, body))
    assert first["outcome"] == "started"
    assert await sent("m1", now, f"v1,AAAA {signed(made, 'm1', now, body)}") == first
    assert (await sent("m2", now, signed(made, "m1", now, body), status=401))["code"] == "bad_signature"
    for at in (now - 400, now + 400):
        assert (await sent("m3", at, signed(made, "m3", at, body), status=401))["code"] == "too_late"
    assert len(await history(there, made)) == 1


async def test_who_may_not_start_anything(there: TaskScene) -> None:
    made = await trigger(there, perMinute=2)
    assert (await send(there, {"token": "x" * 43}, status=404))["code"] == "trigger_not_found"
    assert (await send(there, made, body=b"{", status=422))["code"] == "bad_payload"
    assert (await send(there, made, body=b"[" * 100_000, status=422))["code"] == "bad_payload"
    await send(there, made, body=b'"' + b"x" * (256 * 1024) + b'"', status=413)
    await send(there, made)
    await send(there, made)
    assert (await send(there, made, status=429))["code"] == "too_many_calls"
    path = f"{TRIGGERS}/{made['trigger']['id']}"
    await there.ask("POST", f"{path}/pause")
    assert (await send(there, made, status=409))["code"] == "trigger_paused"
    other = await there.ask("POST", f"{path}/rotate")
    assert (await send(there, made, status=404))["code"] == "trigger_not_found"
    assert (await send(there, other, status=409))["code"] == "trigger_paused"
    await there.ask("DELETE", path, status=204)
    assert (await send(there, other, status=404))["code"] == "trigger_not_found"
    stranger = await there.http.sign_up()
    assert (await there.ask("GET", path, status=404, headers=stranger))["code"] == "trigger_not_found"


async def test_who_left_starts_nothing_more(there: TaskScene) -> None:
    person = await there.http.join(there.headers, there.project, "developer")
    made = await trigger(there, task={"title": "Go", "exec": {"script": "echo in"}}, headers=person)
    who = (await there.http.me(person))["id"]
    path = f"/api/v1/projects/{there.project}/members/{who}"
    assert (await there.http.delete(path, headers=there.headers)).status_code == 204
    called = await send(there, made)
    ended = await there.ended(await there.task(called["taskId"]), "failed")
    assert ended["error"]["code"] == "authority_ended"
    found = await there.ask("GET", f"{TRIGGERS}/{made['trigger']['id']}")
    assert (found["paused"], found["reason"]) == (True, ended["error"]["detail"])
    assert (await send(there, made, status=409))["code"] == "trigger_paused"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"parameters": {"REF": "$..ref"}}, "bad_trigger"),
        ({"when": {"$[?@.a]": ["1"]}}, "bad_trigger"),
        ({"parameters": {"REF": "ref"}}, "validation_failed"),
        ({"event": "evt.x"}, "validation_failed"),
        ({"event": "ext.ci.done", "verify": "github"}, "validation_failed"),
        ({"perMinute": 0}, "validation_failed"),
    ],
)
async def test_what_is_no_trigger(there: TaskScene, body: dict[str, Any], code: str) -> None:
    assert (await trigger(there, status=422, **body))["code"] == code


async def publish(there: TaskScene, kind: str, data: Any, *, name: str | None = None) -> None:
    event = {"type": kind, "data": data, "source": "/ci"} | ({"id": name} if name is not None else {})
    await there.ask("POST", f"/api/v1/projects/{there.project}/events", status=202, json=event)


async def started(there: TaskScene, made: Any, count: int) -> list[Any]:
    """The history, once that many tasks were started."""

    async def enough() -> Any:
        found = [each for each in await history(there, made) if each["outcome"] == "started"]
        return found if len(found) >= count else None

    await eventually(enough, what=f"{count} tasks were started")
    return await history(there, made)


async def test_events_from_outside_start_tasks(there: TaskScene) -> None:
    """Those that it listens to, of its project, once each."""
    made = await trigger(
        there, event="ext.ci.>", task=ECHO, parameters=MAPPED, when={"$.ref": ["main", PUSH["ref"]]}
    )
    assert (made["token"], made["trigger"]["verify"], made["trigger"]["event"]) == (None, None, "ext.ci.>")
    exact = await trigger(there, event="ext.*.done")
    await publish(there, "ext.ci", PUSH)
    await publish(there, "ext.cd.done", PUSH)
    await publish(there, "ext.ci.build.done", PUSH | {"ref": "other"})
    for _ in range(3):
        await publish(there, "ext.ci.build.done", PUSH, name="build 7")
    (call,) = await started(there, made, 1)
    assert (call["outcome"], call["delivery"]) == ("started", "build 7")
    assert await there.ended(await there.task(call["taskId"]))
    assert await there.log(call["runId"]) == 'main; rm -rf / 3 {"id":null,"ok":true}\n'
    assert len(await started(there, exact, 1)) == 1

    await there.ask("POST", f"{TRIGGERS}/{made['trigger']['id']}/pause")
    await publish(there, "ext.ci.build.done", PUSH, name="build 8")
    await publish(there, "ext.ci.done", PUSH, name="build 9")
    assert len(await started(there, exact, 2)) == 2
    assert len(await history(there, made)) == 1


async def test_the_same_name_in_another_project_is_another_event(there: TaskScene) -> None:
    """Whoever guesses what an event will be called takes it from nobody."""
    stranger = await there.http.sign_up()
    theirs = await there.http.project(stranger)
    event = {"type": "ext.guess.done", "data": {}, "source": "/ci", "id": "next"}
    taken = await there.http.post(f"/api/v1/projects/{theirs}/events", json=event, headers=stranger)
    assert taken.status_code == 202
    made = await trigger(there, event="ext.guess.done")
    await publish(there, "ext.guess.done", {}, name="next")
    assert len(await started(there, made, 1)) == 1


async def test_more_events_than_it_takes_are_counted_once_a_minute(there: TaskScene) -> None:
    made = await trigger(there, event="ext.many.>", perMinute=2)
    for number in range(6):
        await publish(there, "ext.many.more", {"number": number})
    last = await trigger(there, event="ext.many.last")
    await publish(there, "ext.many.last", {})
    await started(there, last, 1)

    async def refused() -> Any:
        found = [each for each in await history(there, made) if each["outcome"] == "failed"]
        return found or None

    found = await eventually(refused, what="that there were too many is told")
    assert {each["reason"] for each in found} == {"too_many_calls"}
    assert len(found) <= 2


async def test_who_may_not_act_yet_holds_up_nobody(there: TaskScene) -> None:
    """It hears of it later, and nobody hears twice."""
    early, late = await trigger(there, event="ext.wait.>"), await trigger(there, event="ext.wait.>")
    allow = "update tasks.triggers set delegated = not delegated where id = $1"
    async with there.installation.sql() as sql:
        await sql.execute(allow, uuid.UUID(early["trigger"]["id"]))
    await publish(there, "ext.wait.done", {})
    assert len(await started(there, late, 1)) == 1
    assert not await history(there, early)
    async with there.installation.sql() as sql:
        await sql.execute(allow, uuid.UUID(early["trigger"]["id"]))
    assert len(await started(there, early, 1)) == 1
    assert len(await history(there, late)) == 1


@pytest.mark.parametrize(
    ("pattern", "kind", "listens"),
    [
        ("ext.ci.done", "ext.ci.done", True),
        ("ext.ci.done", "ext.ci.done.now", False),
        ("ext.ci.done", "ext.ci", False),
        ("ext.*.done", "ext.ci.done", True),
        ("ext.*.done", "ext.ci.x.done", False),
        ("ext.>", "ext.ci", True),
        ("ext.ci.>", "ext.ci", False),
        ("ext.ci.>", "ext.ci.a.b.c", True),
        ("ext.*.>", "ext.ci.done", True),
        ("ext.*.>", "ext.ci", False),
    ],
)
def test_types_are_matched_as_subjects_are(pattern: str, kind: str, listens: bool) -> None:
    assert matches(pattern, kind) is listens


async def test_a_secret_that_came_to_nothing_is_forgotten(
    there: TaskScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that counts is not."""
    made = await trigger(there, verify="github", name="the only one")
    again = {"name": "the only one", "verify": "github", "projectId": there.project, "task": NOTHING}
    await there.ask("POST", TRIGGERS, status=409, json=again)
    other = await there.ask("POST", f"{TRIGGERS}/{made['trigger']['id']}/rotate")
    monkeypatch.setattr(signing_secrets, "ON_THE_WAY", timedelta(seconds=-1))
    async with there.service() as service, service.database.transaction() as transaction:
        await service.tidy(transaction)
    body = b"{}"
    assert await send(there, other, body=body, x_hub_signature_256=signed_by_github(other, body))
    async with there.installation.sql() as sql:
        names = await sql.fetch("select name from tasks.secrets where name like 'triggers/%'")
        keys = await sql.fetch("select secret from tasks.triggers where secret is not null")
    assert {each["name"].split("/")[2] for each in names} == {each["secret"].hex for each in keys}


async def test_a_crowd_at_one_project_holds_up_no_other(there: TaskScene) -> None:
    """What is sent there waits for its turn, and for no connection of the database meanwhile."""
    made = await trigger(there, perMinute=600)
    stranger = await there.http.sign_up()
    async with there.installation.sql() as sql, sql.transaction():
        lock = "select from tasks.projects where project_id = $1 for update"
        await sql.execute(lock, uuid.UUID(there.project))
        crowd = [asyncio.create_task(_sent(there, made, n)) for n in range(60)]

        async def waits() -> bool:
            waiting = "wait_event_type = 'Lock' and datname = current_database()"
            return await there.installation.count("pg_stat_activity", waiting) >= 2

        await eventually(waits, what="some wait for the project")
        others = [await there.ask("GET", "/api/v1/tasks", headers=stranger) for _ in range(10)]
        mine = {"title": "Mine", "noop": {}}
        others.append(await there.ask("POST", "/api/v1/tasks", status=201, json=mine, headers=stranger))
    assert len(others) == 11
    assert {await each for each in crowd} <= {200, 503}


async def _sent(there: TaskScene, made: Any, number: int) -> int:
    headers = {"idempotency-key": f"crowd {number}"}
    answer = await there.http.post(f"{HOOKS}/{made['token']}", json={}, headers=headers)
    return answer.status_code


async def test_a_crowd_of_new_ones_gets_in(there: TaskScene) -> None:
    bodies = [{"name": f"crowd {n}", "task": NOTHING, "projectId": there.project} for n in range(40)]
    made = await gathered(*(there.ask("POST", TRIGGERS, status=201, json=each) for each in bodies))
    assert len({each["trigger"]["id"] for each in made}) == 40


async def test_what_nobody_is_known_to_send_fills_no_log(there: TaskScene) -> None:
    """Whoever guesses addresses and signatures would write as many lines as they want."""
    made = await trigger(there, verify="github")

    async def lines() -> int:
        await there.installation.all_told("tasks")
        found = await there.installation.messages("EVENTS", "evt._.tasks.audit.recorded")
        return sum(b"tasks.call-trigger" in each.data for each in found)

    before = await lines()
    for _ in range(5):
        await send(there, {"token": "x" * 43}, status=404)
        await send(there, made, status=401)
    first = await send(there, made, body=b"{}", x_hub_signature_256=signed_by_github(made, b"{}"))
    assert first["outcome"] == "started"

    async def told() -> bool:
        return await lines() > before

    await eventually(told, what="what was done is written down")
    assert await lines() == before + 1
