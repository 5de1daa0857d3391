"""More than one run of a task: retried, gone on with, delivered again; and lists of tasks."""

from typing import Any

import pytest

from tests.support.checkouts import git
from tests.support.tasks import TaskScene, gathered

pytestmark = pytest.mark.usefixtures("patient")


async def do(there: TaskScene, task: Any, what: str, *, status: int = 201, **body: Any) -> Any:
    path = f"/api/v1/tasks/{task['id']}/{what}"
    return await there.ask("POST", path, status=status, json=body or None)


async def test_retried_it_goes_to_the_same_branch(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    script = "echo $(date +%N) > a.txt; test -e /tmp/never"
    made = await there.create(repository=repository, exec={"script": script, "expectedExit": [0]})
    failed = await there.ended(made, "failed")
    assert failed["error"] == {"code": "exec_failed", "detail": "exit code 1", "retryable": False}
    assert (await there.run(made["runId"]))["result"]["exitCode"] == 1
    assert failed["gitBranch"] is None
    assert "+" in await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    again = await do(there, made, "retry")
    assert (again["attempts"], again["status"]) == (2, "pending")
    assert (await do(there, made, "retry", status=409))["code"] == "run_under_way"
    await there.ended(again, "failed")
    runs = await there.ask("GET", f"/api/v1/tasks/{made['id']}/runs")
    assert [run["attempt"] for run in runs["items"]] == [2, 1]
    assert git(remote, "for-each-ref", "refs/heads/signalbox") == ""
    await there.nothing_is_left()


async def test_it_is_tried_again_by_itself(there: TaskScene) -> None:
    """As often as was said, for who asked for it; what waits for it goes on waiting."""
    made = await there.create(exec={"script": "exit 7"}, retry={"attempts": 3, "on": ["exec_failed"]})
    waits = await there.create(noop={}, dependsOn=[made["id"]])
    found = await there.ended(waits, "failed")
    assert found["error"]["code"] == "dependency_failed"
    assert (await there.task(made["id"]))["attempts"] == 3
    once = await there.create(exec={"script": "exit 7"}, retry={"attempts": 3, "on": ["setup_failed"]})
    assert (await there.ended(once, "failed"))["attempts"] == 1
    await there.nothing_is_left()


async def test_it_goes_on_from_where_it_has_come_to(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    made = await there.create(repository=repository, exec={"script": "echo 2 >> a.txt"}, branch="grow")
    await there.ended(made)
    more = {"script": 'echo "$WHAT" >> a.txt', "env": {"WHAT": "3"}}
    again = await do(there, made, "follow-up", message="And three\n\nbecause.", exec=more)
    found = await there.ended(again)
    assert (found["gitBranch"], found["attempts"]) == ("grow", 2)
    assert git(remote, "show", "grow:a.txt") == "1\n2\n3\n"
    subjects = git(remote, "log", "--format=%s", "main..grow").split("\n")
    assert subjects[:2] == ["And three", "Do it"]
    assert (await there.run(found["runId"]))["message"].startswith("And three")
    assert (await do(there, made, "retry", status=409))["code"] == "already_succeeded"
    other = await do(there, made, "duplicate")
    assert other["id"] != made["id"]
    assert (await there.ended(other))["gitBranch"] != "grow"
    await there.nothing_is_left()


async def test_a_delivery_alone_is_done_again(there: TaskScene) -> None:
    """What was found in it is allowed by a maintainer; the script is not run again for it."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    script = "echo ran >> runs.txt; head -c 2000 /dev/urandom > data.bin"
    made = await there.create(repository=repository, exec={"script": script}, branch="with-data")
    failed = await there.ended(made, "failed")
    assert failed["error"]["code"] == "delivery_refused"
    path = f"/api/v1/runs/{made['runId']}/deliver"
    delivered = await there.ask("POST", path, status=201, json={"findings": "allow"})
    assert delivered["attempt"] == 2
    await there.ended(made)
    assert git(remote, "show", "with-data:runs.txt") == "ran\n"
    assert await there.steps(delivered["id"]) == {"authority": "succeeded", "deliver": "succeeded"}
    again = f"/api/v1/runs/{delivered['id']}/deliver"
    assert (await there.ask("POST", again, status=409))["code"] == "already_delivered"
    nothing = await there.create(noop={})
    await there.ended(nothing)
    path = f"/api/v1/runs/{nothing['runId']}/deliver"
    assert (await there.ask("POST", path, status=409))["code"] == "nothing_to_deliver"


async def test_nothing_changed_is_said(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    made = await there.create(repository=repository, exec={"argv": ["true"]})
    found = await there.ended(made)
    assert (await there.run(made["runId"]))["note"] == "There was nothing to commit."
    assert (found["gitBranch"], git(remote, "for-each-ref", "refs/heads/signalbox")) == (None, "")


async def test_lists(there: TaskScene) -> None:
    project = await there.http.project(there.headers)
    priorities = ("low", "urgent", "medium", "high")
    body = {
        "tasks": [
            {"title": f"Number {number}", "noop": {}, "priority": priority, "labels": {"n": str(number)}}
            for number, priority in enumerate(priorities)
        ]
    }
    bulk = f"/api/v1/projects/{project}/tasks/bulk"
    made = (await there.ask("POST", bulk, status=201, json=body))["items"]
    await gathered(*(there.ended(task) for task in made))

    async def titles(**query: str) -> list[str]:
        found, cursor = [], None
        while True:
            params = query | {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = await there.ask("GET", f"/api/v1/projects/{project}/tasks", params=params)
            found += [task["title"].removeprefix("Number ") for task in page["items"]]
            if (cursor := page["nextCursor"]) is None:
                return found

    assert await titles() == ["3", "2", "1", "0"]
    assert await titles(sort="oldest") == ["0", "1", "2", "3"]
    assert await titles(sort="priority") == ["1", "3", "2", "0"]
    assert sorted(await titles(sort="updated")) == ["0", "1", "2", "3"]
    assert await titles(q="NUMBER 2") == ["2"]
    assert await titles(label="n=3") == ["3"]
    assert await titles(label="n", status="succeeded", priority="high") == ["3"]
    assert await titles(status="failed") == []
    everywhere = await there.ask("GET", "/api/v1/tasks", params={"limit": "2"})
    assert len(everywhere["items"]) == 2
    more = await there.ask("GET", "/api/v1/tasks", params={"cursor": everywhere["nextCursor"]})
    assert {task["id"] for task in everywhere["items"]}.isdisjoint(task["id"] for task in more["items"])
    refused = await there.ask("GET", "/api/v1/tasks", status=422, params={"sort": "oldest"})
    assert refused["code"] == "sort_needs_project"


async def test_changed_and_deleted(there: TaskScene) -> None:
    first = await there.create(exec={"script": "sleep 600"})
    waits = [await there.create(noop={}, dependsOn=[first["id"]]) for _ in range(2)]
    path = f"/api/v1/tasks/{waits[0]['id']}"
    changed = await there.ask("PATCH", path, json={"title": "Other", "priority": "urgent", "labels": {}})
    assert (changed["title"], changed["priority"], changed["labels"]) == ("Other", "urgent", {})
    await there.ask("DELETE", path, status=409)
    names = [task["id"] for task in (first, *waits)]
    cancelled = await there.ask(
        "POST", "/api/v1/tasks/bulk/cancel", json={"tasks": names, "projectId": there.project}
    )
    assert {task["status"] for task in cancelled["items"]} <= {"cancelled", "stopping"}
    for task in (first, *waits):
        await there.ended(task, "cancelled")
    await there.ask("DELETE", path, status=204)
    assert (await there.ask("GET", path, status=404))["code"] == "task_not_found"
    run = f"/api/v1/runs/{waits[0]['runId']}"
    assert (await there.ask("GET", run, status=404))["code"] == "run_not_found"
    await there.nothing_is_left()
