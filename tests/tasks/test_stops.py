"""Runs that are stopped: at each step, by whom and by what, and what is kept of them."""

import asyncio
import time

import pytest

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.remotes import held, reached
from tests.support.tasks import TaskScene

pytestmark = pytest.mark.usefixtures("patient")


async def test_cancelled_while_it_works(there: TaskScene) -> None:
    """Within two seconds, with all that it has started; what it has changed until then stays with it."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    script = "echo 2 > a.txt; (trap '' TERM; sleep 600) & echo ready; sleep 600"
    made = await there.create(repository=repository, exec={"script": script})
    await there.said(made, "ready")
    begun = time.monotonic()
    ended = await there.cancel(made["id"])
    took = time.monotonic() - begun
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "cancelled")
    steps = await there.steps(made["runId"])
    assert (steps["shell"], steps["collect"], steps["deliver"]) == ("stopped", "succeeded", "skipped")
    assert "+2" in await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    assert git(remote, "for-each-ref", "refs/heads/signalbox") == ""
    assert took < 10, "two seconds, on a machine that is not busy with others"
    await there.nothing_is_left()
    assert (await there.cancel(made["id"], status=409))["code"] == "already_ended"


async def test_cancelled_in_each_other_step(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    waits = {"repository": repository, "exec": {"script": "echo 2 > a.txt"}}
    with held(there.remote, "info/refs?service=git-upload-pack") as asked:
        made = await there.create(**waits)
        await there.until(made, "running", step="prepare")
        await reached(asked)
        assert (await there.cancel(made["id"]))["status"] == "cancelled"
    assert await there.steps(made["runId"]) == {
        "authority": "succeeded",
        "prepare": "stopped",
        **dict.fromkeys(("sandbox", "shell", "collect", "deliver"), "skipped"),
    }
    setup = await there.create(**waits | {"setup": ["echo begun; sleep 600"]})
    await there.said(setup, "begun")
    assert (await there.cancel(setup["id"]))["status"] == "cancelled"
    assert (await there.steps(setup["runId"]))["setup"] == "stopped"
    with held(there.remote, "service=git-receive-pack") as pushed:
        late = await there.create(**waits | {"branch": "late"})
        await reached(pushed)
        cancelling = asyncio.create_task(
            there.http.post(f"/api/v1/tasks/{late['id']}/cancel", headers=there.headers)
        )
        await there.until(late, "stopping")
    answer = await cancelling
    # One push that is under way is finished, and then it is done; or it was not begun, and nothing is there.
    is_there = git(remote, "for-each-ref", "refs/heads/late") != ""
    assert answer.status_code == (409 if is_there else 200), answer.text
    assert (await there.task(late["id"]))["status"] == ("succeeded" if is_there else "cancelled")
    await there.nothing_is_left()


async def test_its_time_is_over(there: TaskScene) -> None:
    repository, _ = await there.repository({"a.txt": "1\n"})
    made = await there.create(repository=repository, timeout=2, exec={"script": "echo 2 > a.txt; sleep 600"})
    found = await there.ended(made, "timed_out")
    assert found["error"]["code"] == "timed_out"
    assert (await there.steps(made["runId"]))["collect"] == "succeeded"
    with held(there.remote, "info/refs?service=git-upload-pack"):
        prepares = await there.create(repository=repository, timeout=1, exec={"script": "true"})
        await there.ended(prepares, "timed_out")
    setup = await there.create(repository=repository, timeout=2, setup=["sleep 600"], exec={"script": "true"})
    await there.ended(setup, "timed_out")
    await there.nothing_is_left()


async def test_it_does_not_wait_for_ever(there: TaskScene) -> None:
    """What waits for another one has its own time for that."""
    first = await there.create(exec={"script": "sleep 600"})
    waits = await there.create(noop={}, dependsOn=[first["id"]], queueTimeout=1)
    found = await there.ended(waits, "timed_out")
    assert (await there.run(found["runId"]))["startedAt"] is None
    await there.cancel(first["id"])


async def test_what_one_waits_for(there: TaskScene) -> None:
    release = "while ! test -f /tmp/go; do sleep 0.02; done"
    first = await there.create(exec={"script": release})
    second = await there.create(noop={}, dependsOn=[first["id"]])
    third = await there.create(noop={}, dependsOn=[second["id"], first["id"]])
    run = await there.until(first, "running", step="shell")
    assert (await there.task(second["id"]))["status"] == "pending"
    path = f"/api/v1/sandboxes/{run['sandboxId']}/files"
    put = await there.http.put(path, params={"path": "/tmp/go"}, content=b"", headers=there.headers)
    assert put.status_code == 204
    for task in (first, second, third):
        await there.ended(task)
    fails = await there.create(exec={"script": "exit 3"})
    fourth = await there.create(noop={}, dependsOn=[fails["id"]])
    fifth = await there.create(noop={}, dependsOn=[fourth["id"]])
    assert (await there.ended(fails, "failed"))["error"]["code"] == "exec_failed"
    for task in (fourth, fifth):
        assert (await there.ended(task, "failed"))["error"]["code"] == "dependency_failed"
    late = await there.create(noop={}, dependsOn=[first["id"], fails["id"]])
    assert (await there.ended(late, "failed"))["error"]["code"] == "dependency_failed"
    assert await there.refused(404, noop={}, dependsOn=[there.project]) == "dependency_not_found"
    await there.nothing_is_left()


@pytest.mark.parametrize("policy", ["queue", "cancel-oldest", "reject"])
async def test_what_has_the_same_key_does_not_run_at_the_same_time(there: TaskScene, policy: str) -> None:
    concurrency = {"key": f"deploy {policy}", "policy": policy}
    first = await there.create(exec={"script": "sleep 600"}, concurrency=concurrency)
    await there.until(first, "running", step="shell")
    if policy == "reject":
        assert await there.refused(409, noop={}, concurrency=concurrency) == "concurrency_busy"
        await there.cancel(first["id"])
        await there.ended(await there.create(noop={}, concurrency=concurrency))
        return
    second = await there.create(noop={}, concurrency=concurrency)
    if policy == "queue":
        assert (await there.task(second["id"]))["status"] == "pending"
        await there.cancel(first["id"])
    else:
        found = await there.ended(first, "cancelled")
        assert found["error"]["code"] == "superseded"
    await there.ended(second)


async def test_a_deleted_project_stops_all(there: TaskScene) -> None:
    project = await there.http.project(there.headers)
    made = await there.create(projectId=project, exec={"script": "sleep 600"})
    await there.until(made, "running", step="shell")
    waits = await there.create(projectId=project, noop={}, dependsOn=[made["id"]])
    gone = await there.http.delete(f"/api/v1/projects/{project}", headers=there.headers)
    assert gone.status_code == 204

    async def all_ended() -> bool:
        async with there.installation.sql() as sql:
            states = await sql.fetch("select id, status from tasks.tasks where project_id = $1", project)
        assert {str(row["id"]): row["status"] for row in states} == dict.fromkeys(
            (made["id"], waits["id"]), "failed"
        )
        return True

    await eventually(all_ended, what="all of its tasks have ended")
    await there.nothing_is_left()


async def test_who_lost_the_role_loses_the_run(there: TaskScene) -> None:
    """The sandbox stays for an hour, for somebody to look at: nobody is left in whose name it is read."""
    person = await there.http.join(there.headers, there.project, "developer")
    body = {"title": "Do it", "projectId": there.project, "exec": {"script": "echo in; sleep 600"}}
    made = await there.ask("POST", "/api/v1/tasks", status=201, json=body, headers=person)
    await there.said(made, "in")
    who = (await there.http.me(person))["id"]
    path = f"/api/v1/projects/{there.project}/members/{who}"
    assert (await there.http.delete(path, headers=there.headers)).status_code == 204
    found = await there.ended(made, "failed")
    assert found["error"]["code"] == "authority_ended"
    sandbox = (await there.run(made["runId"]))["sandboxId"]
    answer = await there.http.delete(f"/api/v1/sandboxes/{sandbox}", headers=there.headers)
    assert answer.status_code == 200, answer.text
    await there.nothing_is_left()
