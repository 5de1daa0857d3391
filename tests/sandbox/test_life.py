"""Sandboxes as their owners see them: made, paused, resumed, ended, and never other than they are."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.node import killed
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

ENDED = ("destroyed", "failed", "lost")


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        yield scene


async def test_it_runs_when_it_was_made_and_is_gone_when_it_was_destroyed(scene: SandboxScene) -> None:
    made = await scene.create(labels={"for": "a test"}, timeout=600)
    assert (made["status"], made["template"], made["network"]) == ("running", "base", "none")
    assert made["projectId"] == scene.project
    assert made["deadline"] is not None
    assert await scene.said(made["id"], "echo hello; pwd; whoami") == "hello\n/workspace\nuser\n"
    assert (await scene.get(made["id"]))["labels"] == {"for": "a test"}
    gone = await scene.change(made["id"], "destroy")
    assert (gone["status"], gone["reason"], gone["deadline"]) == ("destroyed", "destroyed", None)
    assert gone["destroyedAt"] is not None
    await scene.nothing_is_left(made["id"])
    assert await scene.change(made["id"], "destroy") == gone
    refused = await scene.exec(made["id"], "true", status=409)
    assert refused["code"] == "sandbox_ended"
    listed = await scene.http.get(SANDBOXES, params={"projectId": scene.project}, headers=scene.headers)
    assert (made["id"], "destroyed") in {(each["id"], each["status"]) for each in listed.json()["items"]}
    facts = await scene.facts(made["id"])
    assert [each["state"] for each in facts] == ["creating", "running", "destroyed"]
    assert [each["version"] for each in facts] == [1, 2, 3]


async def test_asked_for_twice_under_one_key_it_is_made_once(scene: SandboxScene) -> None:
    headers = scene.headers | {"Idempotency-Key": uuid.uuid4().hex}
    body = {"projectId": scene.project, "env": {"A": "1"}}
    answers = await asyncio.gather(
        *(scene.http.post(SANDBOXES, json=body, headers=headers) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {201}
    (identifier,) = {answer.json()["id"] for answer in answers}
    other = await scene.http.post(SANDBOXES, json=body | {"env": {"A": "2"}}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    await scene.change(identifier, "destroy")


async def test_its_environment_is_in_its_programs_and_nowhere_else(scene: SandboxScene) -> None:
    secret = f"secret-{uuid.uuid4().hex}"
    made = await scene.create(env={"KEY": secret, "OTHER": "kept"})
    assert await scene.said(made["id"], 'echo "$KEY $OTHER"', env={"OTHER": "own"}) == f"{secret} own\n"
    await scene.change(made["id"], "pause")
    await killed(await scene.keeper(made["id"]))
    await scene.change(made["id"], "resume")
    assert await scene.said(made["id"], "echo $KEY") == f"{secret}\n"
    async with scene.installation.sql() as connection:
        tables = await connection.fetch(
            "select table_name from information_schema.tables where table_schema = 'sandbox'"
        )
        for (table,) in tables:
            rows = await connection.fetch(f"select t::text from sandbox.{table} t")
            assert not [row for row in rows if secret in row[0]], table
        name = f"sandboxes/{uuid.UUID(made['id']).hex}"
        names = f"select count(*) from sandbox.secrets where name = '{name}'"
        assert await connection.fetchval(names) == 1
        await scene.change(made["id"], "destroy")
        await eventually(lambda: _is_zero(connection.fetchval(names)), what="it was forgotten")
    for stream in ("EVENTS", "COMMANDS", "DEAD_LETTERS"):
        for message in await scene.installation.messages(stream):
            assert secret.encode() not in message.data


async def _is_zero(asked: Awaitable[int]) -> bool:
    return await asked == 0


async def test_at_its_deadline_it_is_destroyed(scene: SandboxScene) -> None:
    made = await scene.create(timeout=1)
    since = time.monotonic()
    gone = await scene.until(made["id"], "destroyed")
    assert gone["reason"] == "deadline"
    assert time.monotonic() - since < 1 + 2
    await scene.nothing_is_left(made["id"])


async def test_another_deadline_counts_from_when_it_was_set(scene: SandboxScene) -> None:
    made = await scene.create(timeout=3600)
    changed = await scene.change(made["id"], "timeout", timeout=1)
    assert changed["status"] == "running"
    assert changed["deadline"] < made["deadline"]
    assert (await scene.until(made["id"], "destroyed"))["reason"] == "deadline"


async def test_a_deadline_that_was_set_before_it_was_written_down_holds(scene: SandboxScene) -> None:
    """Its keeper was begun with another one, by somebody who did not come to say so."""
    made = await scene.create(timeout=3600)
    async with scene.installation.sql() as connection:
        await connection.execute(
            "update sandbox.sandboxes set status = 'creating' where id = $1", uuid.UUID(made["id"])
        )
    assert (await scene.change(made["id"], "timeout", timeout=1))["status"] == "running"
    assert (await scene.until(made["id"], "destroyed"))["reason"] == "deadline"


async def test_paused_its_programs_stand_still_and_go_on_when_it_is_resumed(scene: SandboxScene) -> None:
    made = await scene.create()
    counting = {"command": "n=0; while :; do n=$((n+1)); echo $n > count; done", "key": "counts"}
    path = f"{SANDBOXES}/{made['id']}/processes"
    assert (await scene.http.post(path, json=counting, headers=scene.headers)).status_code == 201
    count = scene.node.folder / made["id"] / "workspace" / "count"

    async def counts() -> bool:
        return count.exists() and bool(count.read_text().strip())

    await eventually(counts)
    assert (await scene.change(made["id"], "pause"))["status"] == "paused"
    before = count.read_text()
    assert (await scene.exec(made["id"], "true", status=409))["code"] == "sandbox_paused"
    await scene.said((await scene.create())["id"], "for n in $(seq 2000); do echo $n > count; done")
    assert count.read_text() == before
    assert (await scene.change(made["id"], "resume"))["status"] == "running"

    async def goes_on() -> bool:
        return count.read_text() not in (before, "")

    await eventually(goes_on)
    assert (await scene.http.get(f"{path}/counts", headers=scene.headers)).json()["state"] == "running"
    await scene.change(made["id"], "destroy")
    await scene.nothing_is_left(made["id"])


async def test_paused_it_outlives_its_keeper_with_its_files(scene: SandboxScene) -> None:
    made = await scene.create()
    await scene.said(made["id"], "echo kept > /workspace/file; echo too > ~/other")
    await scene.change(made["id"], "pause")
    await killed(await scene.keeper(made["id"]))
    assert (await scene.change(made["id"], "resume"))["status"] == "running"
    assert await scene.said(made["id"], "cat /workspace/file ~/other") == "kept\ntoo\n"
    await scene.change(made["id"], "destroy")


async def test_whose_keeper_was_killed_is_lost_and_leaves_nothing(scene: SandboxScene) -> None:
    made, other = await scene.create(), await scene.create()
    await killed(await scene.keeper(made["id"]))
    lost = await scene.until(made["id"], "lost")
    assert lost["reason"] == "keeper_lost"
    assert lost["destroyedAt"] is not None
    await scene.nothing_is_left(made["id"])
    assert (await scene.get(other["id"]))["status"] == "running"
    assert (await scene.change(made["id"], "resume", status=409))["code"] == "sandbox_ended"
    await scene.change(other["id"], "destroy")


async def test_what_is_asked_for_in_a_row_ends_as_was_asked_last(scene: SandboxScene) -> None:
    """Whatever comes meanwhile: each command is answered, and the last one counts."""
    made = await scene.create()
    for _ in range(5):
        wishes = [random.choice(("pause", "resume", "timeout")) for _ in range(4)]
        answers = await asyncio.gather(*(_changed(scene, made["id"], wish) for wish in wishes))
        assert {answer.status_code for answer in answers} <= {200, 409}, [a.text for a in answers]
        refused = {answer.json()["code"] for answer in answers if answer.status_code == 409}
        assert refused <= {"superseded"}
    assert (await scene.change(made["id"], "resume"))["status"] == "running"
    assert await scene.said(made["id"], "echo there") == "there\n"
    gone = await asyncio.gather(*(_changed(scene, made["id"], "destroy") for _ in range(3)))
    assert {answer.json()["status"] for answer in gone} == {"destroyed"}
    await scene.nothing_is_left(made["id"])


async def _changed(scene: SandboxScene, sandbox: str, how: str) -> httpx.Response:
    path = f"{SANDBOXES}/{sandbox}"
    match how:
        case "destroy":
            return await scene.http.delete(path, headers=scene.headers)
        case "timeout":
            return await scene.http.put(f"{path}/timeout", json={"timeout": 600}, headers=scene.headers)
        case _:
            return await scene.http.post(f"{path}/{how}", headers=scene.headers)


async def test_a_project_that_is_deleted_takes_its_sandboxes_along(scene: SandboxScene) -> None:
    project = await scene.http.project(scene.headers, "Short-lived")
    made = await scene.create(projectId=project)
    assert (await scene.http.delete(f"/api/v1/projects/{project}", headers=scene.headers)).status_code == 204
    await scene.nothing_is_left(made["id"])


async def test_in_another_project_nothing_of_it_is_seen(scene: SandboxScene) -> None:
    made = await scene.create()
    stranger = await scene.http.sign_up()
    path = f"{SANDBOXES}/{made['id']}"
    unknown = f"{SANDBOXES}/{uuid.uuid4()}"
    for method, rest, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("PUT", "/timeout", {"timeout": 5}),
        ("POST", "/exec", {"command": "id"}),
        ("GET", "/processes", None),
    ):
        theirs = await scene.http.request(method, path + rest, json=body, headers=stranger)
        nobody = await scene.http.request(method, unknown + rest, json=body, headers=stranger)
        assert (theirs.status_code, theirs.json()["code"]) == (404, "sandbox_not_found")
        assert theirs.json()["detail"] == nobody.json()["detail"]
    mine = await scene.http.get(SANDBOXES, headers=stranger)
    assert mine.json()["items"] == []
    assert [each["id"] for each in (await scene.http.get(SANDBOXES, headers=scene.headers)).json()["items"]]
    await scene.change(made["id"], "destroy")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"template": "unheard-of"}, "unknown_template"),
        ({"timeout": 0}, "validation_failed"),
        ({"timeout": -5}, "validation_failed"),
        ({"limits": {"pids": -1}}, "validation_failed"),
        ({"limits": {"memoryMb": 1e300}}, "validation_failed"),
        ({"network": "all"}, "validation_failed"),
        ({"env": {"A=B": "x"}}, "validation_failed"),
        ({"env": {"A": "x" * 100_000}}, "validation_failed"),
        ({"env": {"A": "nul\0"}}, "validation_failed"),
        ({"atEnd": "explode"}, "validation_failed"),
        ({"labels": {"ü": "x"}}, "validation_failed"),
    ],
)
async def test_what_cannot_be_is_refused(scene: SandboxScene, body: dict[str, Any], code: str) -> None:
    refused = await scene.create(status=422, **body)
    assert refused["code"] == code


async def test_limits_hold_or_are_named(scene: SandboxScene) -> None:
    made = await scene.create(limits={"pids": 20, "openFiles": 64, "memoryMb": 256, "cpus": 1})
    held = {{"memory": "memoryMb", "cpus": "cpus"}[name] for name in scene.node.keepers.holds()}
    assert set(made["notEnforced"]) == {"memoryMb", "cpus"} - held
    assert await scene.said(made["id"], "ulimit -n") == "64\n"
    forked = await scene.exec(made["id"], "for i in $(seq 40); do sleep 5 & done; wait", timeout=20)
    assert "fork" in forked["stderr"].lower()
    await scene.change(made["id"], "destroy")
