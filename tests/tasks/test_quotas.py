"""What a project may have is what it has at most, however many ask for it at once, and wherever."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from signalbox_common.contracts.tasks import RunState, StepName
from signalbox_common.testing import eventually
from signalbox_tasks.domain import Consumption, Run
from signalbox_tasks.store import usage
from tests.support.installation import Installation
from tests.support.quotas import crowd, set_quotas
from tests.support.tasks import TASKS, TaskScene, gathered, task_scene
from tests.support.teams import apply, bot

pytestmark = pytest.mark.usefixtures("patient")

ONE_WAITS = {"exec": {"script": "sleep 600"}}


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    """With two instances of tasks."""
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
        scene.service(),
        scene.service(),
    ):
        await scene.with_api_token()
        yield scene


async def limited(there: TaskScene, in_: str | None = None, **limits: Any) -> str:
    """A project with these quotas."""
    project = in_ or await there.http.project(there.headers)
    await set_quotas(there.http, there.installation, project, "tasks", "sandbox", **limits)
    return project


def asking(there: TaskScene, project: str, **body: Any) -> Any:
    async def ask() -> httpx.Response:
        given = {"title": "Do it", "noop": {}, "projectId": project} | body
        return await there.http.post(TASKS, json=given, headers=there.headers)

    return ask


async def counted(there: TaskScene, project: str) -> tuple[int, int]:
    async with there.installation.sql() as sql:
        row = await sql.fetchrow(
            "select active, queued from tasks.projects where project_id = $1", uuid.UUID(project)
        )
    return (row["active"], row["queued"]) if row is not None else (0, 0)


async def test_a_crowd_gets_as_many_tasks_as_there_is_room_for(there: TaskScene) -> None:
    """What has ended, or was cancelled, makes room again; a lower bound breaks nothing."""
    project = await limited(there, queuedTasks=7, runningTasks=0)
    given = await crowd(100, asking(there, project))
    assert len(given) == 7
    assert await counted(there, project) == (0, 7)
    refused = (await asking(there, project)()).json()
    assert refused["detail"] == "The project has a quota of 7 for queuedTasks, and 7 are used."
    assert refused["errors"][0]["field"] == "queuedTasks"
    await there.cancel(given[0]["id"])
    assert len(await crowd(10, asking(there, project))) == 1
    await limited(there, project, queuedTasks=2, runningTasks=0)
    assert await crowd(5, asking(there, project)) == []
    assert await counted(there, project) == (0, 7)
    await limited(there, project, queuedTasks=2, runningTasks=1)
    await gathered(*(there.ended(task) for task in given[1:]))
    await limited(there, project, queuedTasks=2, runningTasks=0)
    assert len(await crowd(10, asking(there, project))) == 2
    await limited(there, project)
    await eventually(lambda: _idle(there, project), what="those that were left begin")


async def _idle(there: TaskScene, project: str) -> bool:
    return await counted(there, project) == (0, 0)


async def test_a_refusal_is_not_kept(there: TaskScene) -> None:
    """Under the same key it is done, once there is room."""
    project = await limited(there, queuedTasks=0)
    path, key = f"/api/v1/projects/{project}/tasks", {"Idempotency-Key": uuid.uuid4().hex}
    body, headers = {"title": "Do it", "noop": {}}, there.headers | key
    for _ in range(2):
        refused = await there.ask("POST", path, status=429, json=body, headers=headers)
        assert refused["code"] == "quota_exceeded"
    await limited(there, project)
    made = await there.ask("POST", path, status=201, json=body, headers=headers)
    assert (await there.ask("POST", path, status=201, json=body, headers=headers))["id"] == made["id"]
    await there.ended(made)


async def test_more_than_may_run_wait(there: TaskScene) -> None:
    """A higher bound lets them begin at once; a lower one stops nothing."""
    project = await limited(there, runningTasks=1)
    made = [await there.create(projectId=project, **ONE_WAITS) for _ in range(3)]
    await there.until(made[0], "running", step="shell")
    assert await counted(there, project) == (1, 2)
    assert (await there.run(made[1]["runId"]))["waitingFor"] == "turn"
    await limited(there, project, runningTasks=2)
    await there.until(made[1], "running", step="shell")
    await limited(there, project, runningTasks=1)
    assert await counted(there, project) == (2, 1)
    await there.cancel(made[0]["id"])
    assert await counted(there, project) == (1, 1)
    for task in made[1:]:
        await there.cancel(task["id"])
    assert await counted(there, project) == (0, 0)


async def test_runs_wait_for_a_sandbox(there: TaskScene) -> None:
    """Until others have ended: a run does not fail because its project has none left."""
    project = await limited(there, liveSandboxes=1)
    first = await there.create(projectId=project, **ONE_WAITS)
    await there.until(first, "running", step="shell")
    second = await there.create(projectId=project, exec={"script": "echo mine"})
    await there.until(second, "running", step="sandbox")
    await there.cancel(first["id"])
    await there.ended(second)


async def spend(there: TaskScene, tokens: int, cost: str) -> None:
    """As a run of this month would have."""
    identifier, now = uuid.uuid4(), datetime.now(UTC)
    run = Run(
        id=identifier,
        project_id=uuid.UUID(there.project),
        task_id=uuid.uuid4(),
        attempt=1,
        plan=(StepName.SHELL,),
        rank=1,
        created_by=uuid.uuid4(),
        created_by_name="somebody",
        queued_at=now,
        authority=identifier,
        state=RunState.SUCCEEDED,
    )
    async with there.service() as service, service.database.transaction() as transaction:
        await usage.count(transaction, run.using("cheap", Consumption(1, tokens, 0, Decimal(cost))), now)


@pytest.mark.parametrize(
    ("quota", "most", "tokens", "cost"), [("tokensPerMonth", 100, 100, "0"), ("costPerMonth", 2.5, 1, "2.5")]
)
async def test_a_budget_is_for_those_who_ask_models(
    there: TaskScene, quota: str, most: Any, tokens: int, cost: str
) -> None:
    """Nothing more is begun when it is spent, whether it was asked for before or is now."""
    there = replace(there, project=await limited(there, runningTasks=0, **{quota: most}))
    await apply(there, *bot("idle", {"shellType": "noop"}))
    waits = await there.create(bot="idle")
    await spend(there, tokens, cost)
    given = {"title": "Go", "bot": "idle", "projectId": there.project}
    refused = await there.ask("POST", TASKS, status=429, json=given)
    assert (refused["code"], refused["errors"][0]["field"]) == ("quota_exceeded", quota)
    await limited(there, there.project, **{quota: most})
    await there.ended(waits, "failed")
    assert (await there.run(waits["runId"]))["error"]["code"] == "quota_exceeded"
    await there.ended(await there.create(noop={}))
    await limited(there, there.project, **{quota: most + 1})
    await there.ended(await there.create(bot="idle"))


async def test_files_have_so_much_room(there: TaskScene) -> None:
    project = await limited(there, storageBytes=100_000)
    params = {"projectId": project}

    async def upload(name: str) -> httpx.Response:
        given = params | {"name": name}
        return await there.http.post(
            "/api/v1/attachments", params=given, content=os.urandom(20_000), headers=there.headers
        )

    answers = await asyncio.gather(*(upload(f"{number}") for number in range(20)))
    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(made) <= 4
    refused = next(answer.json() for answer in answers if answer.status_code != 201)
    assert (refused["code"], refused["errors"][0]["field"]) == ("quota_exceeded", "storageBytes")
    for each in made:
        await there.ask("DELETE", f"/api/v1/attachments/{each['id']}", status=204)
    assert (await upload("again")).status_code == 201


async def test_what_is_kept_elsewhere_counts(there: TaskScene) -> None:
    """Repositories, as git tells of them, leave less for files; and files leave less for repositories."""
    there = replace(there, project=await limited(there))
    repository, _ = await there.repository()

    async def told(service: str, by: str) -> int:
        async with there.installation.sql() as sql:
            found = await sql.fetchval(
                f"select bytes from {by}.storage where project_id = $1 and service = $2",
                uuid.UUID(there.project),
                service,
            )
        return int(found or 0)

    kept = await eventually(lambda: told("git", "tasks"), what="git has told what it keeps")
    await limited(there, there.project, storageBytes=kept + 10_000)
    upload = {"projectId": there.project, "name": "notes"}
    refused = await there.ask("POST", "/api/v1/attachments", status=429, params=upload, content=b"x" * 9_000)
    assert refused["errors"][0]["field"] == "storageBytes"
    await there.ask("POST", "/api/v1/attachments", status=201, params=upload, content=b"x" * 4_000)
    await eventually(lambda: told("tasks", "git"), what="tasks has told what it keeps")
    await set_quotas(there.http, there.installation, there.project, "git", storageBytes=kept + 8_000)
    another = {"url": there.remote.url("another.git"), "projectId": there.project}
    refused = await there.ask("POST", "/api/v1/repositories", status=429, json=another)
    assert refused["errors"][0]["field"] == "storageBytes"
    await there.ask("DELETE", f"/api/v1/repositories/{repository}", status=204)
    await there.ask("POST", "/api/v1/repositories", status=201, json=another)


async def test_what_dies_gives_back_what_it_held(there: TaskScene, tmp_path: Path) -> None:
    """A process that is killed while it creates has created, or has not: nothing is held for nobody."""
    project = await limited(there, queuedTasks=20, runningTasks=0)
    process = there.process(tmp_path / "log")
    await process.start()
    creating = asyncio.create_task(crowd(60, asking(there, project)))
    await eventually(lambda: _some(there, project), what="some are created")
    process.kill()
    await creating
    await eventually(lambda: _full(there, project), what="what the dead one had is created by others")
    assert await crowd(5, asking(there, project)) == []
    async with there.installation.sql() as sql:
        made = await sql.fetchval(
            "select count(*) from tasks.tasks where project_id = $1", uuid.UUID(project)
        )
    assert made == 20
    process = there.process(tmp_path / "another.log")
    await process.start()
    await limited(there, project, runningTasks=2)
    await eventually(lambda: _ended(there, project, 3), what="some have ended")
    process.kill()
    await there.end_leases()
    await eventually(lambda: _idle(there, project), what="they begin, and end")
    assert await _ended(there, project, 20), "each counts once, whoever has died"


async def _full(there: TaskScene, project: str) -> bool:
    return await counted(there, project) == (0, 20)


async def _ended(there: TaskScene, project: str, least: int) -> bool:
    async with there.installation.sql() as sql:
        counted = "select coalesce(sum(runs), 0) from tasks.usage_days where project_id = $1"
        runs = int(await sql.fetchval(counted, uuid.UUID(project)))
    assert runs <= 20
    return runs >= least


async def _some(there: TaskScene, project: str) -> bool:
    return (await counted(there, project))[1] > 2
