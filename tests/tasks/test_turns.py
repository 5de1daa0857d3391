"""Whose turn it is: by priority and age within a project, and nobody waits for what another project has."""

import itertools
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.support.installation import Installation
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene:
        yield scene


async def test_the_most_urgent_and_the_oldest_come_first(there: TaskScene) -> None:
    async with there.service(runs_in_project=1, runs_queued=6):
        first = await there.create(exec={"script": "sleep 600"})
        await there.until(first, "running", step="shell")
        wanted = ("low", "medium", "urgent", "medium", "high", "low")
        made = [await there.create(noop={}, priority=priority) for priority in wanted]
        assert await there.refused(429, noop={}) == "quota_exceeded"
        await there.ask("PATCH", f"/api/v1/tasks/{made[5]['id']}", json={"priority": "urgent"})
        await there.cancel(first["id"])
        await gathered(*(there.ended(task) for task in made))
        runs = [await there.run(task["runId"]) for task in made]
        order = sorted(range(6), key=lambda number: runs[number]["startedAt"])
        assert order == [2, 5, 4, 1, 3, 0]
        for before, after in itertools.pairwise(order):
            assert runs[before]["finishedAt"] <= runs[after]["startedAt"], "one at a time"
        await there.nothing_is_left()


async def many(there: TaskScene, count: int) -> tuple[float, float]:
    """How long one project's first task takes while another has so many, and how long those take."""
    crowded, other = [await there.http.project(there.headers) for _ in range(2)]
    begun = time.monotonic()
    for _ in range(0, count, 100):
        body = {"tasks": [{"title": "Do nothing", "noop": {}}] * 100}
        path = f"/api/v1/projects/{crowded}/tasks/bulk"
        await there.ask("POST", path, status=201, json=body, headers={**there.headers, **key()})
    asked = time.monotonic()
    task = await there.create(projectId=other, noop={})
    await there.ended(task)
    first = time.monotonic() - asked
    params = {"status": "pending", "limit": "1"}
    while (await there.ask("GET", f"/api/v1/projects/{crowded}/tasks", params=params))["items"]:
        pass
    await there.nothing_is_left()
    return first, time.monotonic() - begun


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


async def test_nobody_waits_for_what_another_project_has(there: TaskScene) -> None:
    async with there.service(runs_in_project=4), there.service(runs_in_project=4):
        await many(there, 300)


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_nobody_waits_for_thousands(there: TaskScene) -> None:
    async with there.service():
        first, whole = await many(there, 5000)
    print(f"\n5000 tasks of one project in {whole:.0f} s; another one's first took {first * 1000:.0f} ms")
    assert first <= 1.0
