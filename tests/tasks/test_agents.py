"""Agents: who works on tasks, what they come to, and what is counted of them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, gathered, task_scene
from tests.support.teams import apply, bot, script, team

pytestmark = pytest.mark.usefixtures("patient")

AGENTS = "/api/v1/agents"


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
        scene.service(),
    ):
        await apply(
            scene,
            *bot("quick", script('echo "$SIGNALBOX_PROMPT"; exit "${CODE:-0}"')),
            *bot("slow", script("echo in; sleep 600")),
            *bot("idle", {"shellType": "noop"}),
        )
        yield scene


async def agent(there: TaskScene, **body: Any) -> Any:
    given = {"name": f"agent {uuid.uuid4().hex[:8]}", "bot": "quick", "projectId": there.project} | body
    return await there.ask("POST", AGENTS, status=201, json=given)


async def start(there: TaskScene, agent: str, *, status: int = 201, **body: Any) -> Any:
    return await there.ask("POST", f"{AGENTS}/{agent}/start-task", status=status, json={"title": "Go"} | body)


async def look(there: TaskScene, agent: str, path: str = "", **params: Any) -> Any:
    return await there.ask("GET", f"{AGENTS}/{agent}{path}", params=params)


async def until(there: TaskScene, agent: str, status: str) -> Any:
    async def so() -> Any:
        found = await look(there, agent)
        return found if found["status"] == status else None

    return await eventually(so, what=f"it is {status}")


async def test_somebody_works(there: TaskScene) -> None:
    """Given a task, it is busy until that has ended; all of it can be looked at."""
    made = await agent(there, name="Ada", role="Counts", bot="slow", avatarUrl="https://example.org/a.png")
    expected = {"id", "name", "role", "status", "currentTaskId", "sandboxId", "avatarUrl"}
    assert expected | {"createdAt", "updatedAt"} <= made.keys()
    assert (made["status"], made["currentTaskId"], made["sandboxId"]) == ("idle", None, None)
    task = await start(there, made["id"], title="Count")
    assert (task["assignedAgentId"], task["spec"]["bot"]) == (made["id"], "slow")
    await there.said(task, "in")
    busy = await until(there, made["id"], "busy")
    run = await there.run(task["runId"])
    assert (busy["currentTaskId"], busy["sandboxId"]) == (task["id"], run["sandboxId"])
    assert run["agentId"] == made["id"]
    listed = await there.ask("GET", f"/api/v1/projects/{there.project}/tasks", params={"agentId": made["id"]})
    assert [each["id"] for each in listed["items"]] == [task["id"]]
    refused = await there.ask("DELETE", f"{AGENTS}/{made['id']}", status=409)
    assert refused["code"] == "agent_busy"
    await there.cancel(task["id"])
    idle = await until(there, made["id"], "idle")
    assert (idle["currentTaskId"], idle["runs"], idle["successRate"]) == (None, 1, None)
    history = await look(there, made["id"], "/history")
    assert [(each["id"], each["title"], each["status"]) for each in history["items"]] == [
        (task["runId"], "Count", "cancelled")
    ]
    noted = await there.ask(
        "POST",
        f"{AGENTS}/{made['id']}/activity",
        status=201,
        json={"type": "ci", "message": "Hm", "data": {"n": 1}},
    )
    activity = await look(there, made["id"], "/activity")
    assert activity["items"][0] == noted
    assert [each["type"] for each in activity["items"]] == ["ci", "run.ended", "run.started"]
    await there.ask("DELETE", f"{AGENTS}/{made['id']}", status=204)
    await there.ask("GET", f"{AGENTS}/{made['id']}", status=404)
    assert (await there.task(task["id"]))["assignedAgentId"] == made["id"]
    again = await there.ask("POST", f"/api/v1/tasks/{task['id']}/duplicate", status=201)
    assert (again["assignedAgentId"], again["spec"]["bot"]) == (None, "slow")
    await there.cancel(again["id"])


async def test_no_more_at_a_time_than_it_takes_on(there: TaskScene) -> None:
    """However many are created at once; others of the project do not wait for them."""
    made = await agent(there, bot="slow", concurrency=2)
    tasks = await gathered(*(start(there, made["id"]) for _ in range(6)))
    other = await there.create(noop={})
    await there.ended(other)
    busy = await until(there, made["id"], "busy")
    assert (busy["running"], busy["queued"]) == (2, 4)
    waiting = [run for task in tasks if (run := await there.run(task["runId"]))["status"] == "queued"]
    assert [run["waitingFor"] for run in waiting] == ["agent"] * 4
    changed = await there.ask("PATCH", f"{AGENTS}/{made['id']}", json={"concurrency": 5})
    assert (changed["running"], changed["queued"]) == (5, 1)
    changed = await there.ask("PATCH", f"{AGENTS}/{made['id']}", json={"concurrency": None})
    assert (changed["running"], changed["queued"], changed["concurrency"]) == (6, 0, None)
    body = {"tasks": [task["id"] for task in tasks]}
    await there.ask("POST", f"/api/v1/projects/{there.project}/tasks/bulk/cancel", json=body)
    await until(there, made["id"], "idle")
    await there.nothing_is_left()


async def test_how_well_it_works(there: TaskScene) -> None:
    """What was counted is what a recount of its runs gives; three that fail in a row are an error."""
    made = await agent(there)
    codes = ["0", "1", "0", "1", "1", "1"]
    for code in codes:
        task = await start(there, made["id"], parameters={"CODE": code})
        await there.ended(task, "failed" if code == "1" else "succeeded")
    failing = await look(there, made["id"])
    assert (failing["status"], failing["reason"]) == ("error", "Its last 3 runs have failed.")
    assert failing["successRate"] == pytest.approx(2 / 6)
    metrics = await look(there, made["id"], "/metrics")
    history = (await look(there, made["id"], "/history", limit=200))["items"]
    durations = sorted(each["durationMs"] / 1000 for each in history)
    assert (metrics["runs"], metrics["succeeded"], metrics["failed"]) == (6, 2, 4)
    assert metrics["durationP50"] == pytest.approx(durations[2], rel=0.03)
    assert metrics["durationP95"] == pytest.approx(durations[-1], rel=0.03)
    assert metrics["successRate"] == pytest.approx(2 / 6)
    assert sum(day["runs"] for day in metrics["days"]) == 6
    before = await look(there, made["id"], "/metrics", **{"from": "2020-01-01", "to": "2020-01-31"})
    assert (before["runs"], before["durationP50"], before["days"]) == (0, None, [])
    pages = await look(there, made["id"], "/history", limit=4)
    rest = await look(there, made["id"], "/history", limit=4, cursor=pages["nextCursor"])
    assert [*pages["items"], *rest["items"]] == history
    await there.ended(await start(there, made["id"]))
    assert (await look(there, made["id"]))["status"] == "idle"


async def test_nothing_can_run_it(there: TaskScene) -> None:
    """Its bot goes, and comes back; in between it is offline, and takes no task."""
    await apply(there, *bot("leaver", {"shellType": "noop"}))
    made = await agent(there, bot="leaver")
    slug = (await there.ask("GET", f"/api/v1/projects/{there.project}"))["slug"]
    await there.ask("DELETE", "/api/v1/kinds/bots/leaver", status=204, params={"namespace": slug})
    gone = await until(there, made["id"], "offline")
    assert gone["reason"] == "There is no bot leaver."
    await start(there, made["id"], status=404)
    await apply(there, *bot("leaver", {"shellType": "noop"}))
    await until(there, made["id"], "idle")
    await there.ended(await start(there, made["id"]))


async def test_a_team_under_one_name(there: TaskScene) -> None:
    await team(there, "two", {"botRef": {"name": "quick"}}, {"botRef": {"name": "idle"}})
    made = await agent(there, bot=None, team="two")
    task = await start(there, made["id"], description="hello")
    await there.ended(task)
    assert await there.log(task["runId"]) == "hello\n"
    await start(there, made["id"], status=422, exec={"script": "true"})
    await start(there, made["id"], status=422, agentId=str(uuid.uuid4()))
    changed = await there.ask("PATCH", f"{AGENTS}/{made['id']}", json={"bot": "idle"})
    assert (changed["bot"], changed["team"]) == ("idle", None)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"bot": "nobody"}, 404, "resource_not_found"),
        ({"bot": None}, 422, "validation_failed"),
        ({"team": "two"}, 422, "validation_failed"),
        ({"name": "a\nb"}, 422, "validation_failed"),
        ({"avatarUrl": "javascript:alert(1)"}, 422, "validation_failed"),
        ({"concurrency": 0}, 422, "validation_failed"),
    ],
)
async def test_what_is_no_agent(there: TaskScene, body: dict[str, Any], status: int, code: str) -> None:
    given = {"name": "x", "bot": "quick", "projectId": there.project} | body
    assert (await there.ask("POST", AGENTS, status=status, json=given))["code"] == code


async def test_names_are_given_once(there: TaskScene) -> None:
    """Also to those who ask at the same time."""
    name = uuid.uuid4().hex
    bodies = [
        {"name": given, "bot": "quick", "projectId": there.project} for given in (name, name.upper()) * 4
    ]

    async def make(body: dict[str, Any]) -> int:
        return (await there.http.post(AGENTS, json=body, headers=there.headers)).status_code

    assert sorted(await asyncio.gather(*map(make, bodies))) == [201] + [409] * 7


async def test_others_see_none_of_them(there: TaskScene) -> None:
    made = await agent(there)
    stranger = await there.http.sign_up()
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metrics"), ("POST", "/start-task")):
        body = {"json": {"title": "x"}} if method == "POST" else {}
        found = await there.ask(method, f"{AGENTS}/{made['id']}{path}", status=404, headers=stranger, **body)
        assert found["code"] == "agent_not_found"
    mine = await there.ask(
        "POST", "/api/v1/tasks", status=404, headers=stranger, json={"title": "Steal", "agentId": made["id"]}
    )
    assert mine["code"] == "agent_not_found"
