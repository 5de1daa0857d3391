"""What others tell of a run may be lost, late or twice: it is asked for, and nothing is done again for it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_tasks.service.news import News
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene:
        yield scene


async def test_nothing_is_heard(there: TaskScene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: Any) -> None:
        """Never comes."""

    monkeypatch.setattr(News, "_hear", lost)
    repository, remote = await there.repository({"a.txt": "1\n"})
    async with there.service():
        made = await there.create(repository=repository, branch="t", exec={"script": "echo 2 >> a.txt"})
        await there.ended(made, within=90)
    assert git(remote, "show", "t:a.txt") == "1\n2\n"
    assert git(remote, "rev-list", "--count", "main..t").strip() == "1"


async def test_all_is_heard_twice_and_late(there: TaskScene, monkeypatch: pytest.MonkeyPatch) -> None:
    hear = News._hear
    later: list[asyncio.Task[None]] = []

    async def twice(news: News, call: Any, *about: Any) -> None:
        await hear(news, call, *about)

        async def again() -> None:
            await asyncio.sleep(0.3)  # what comes late
            async with there.installation.sql() as sql:
                await sql.execute("update tasks.work set due_at = now() where state = 'waiting'")

        later.append(asyncio.create_task(again()))
        await hear(news, call, *about)

    monkeypatch.setattr(News, "_hear", twice)
    repository, remote = await there.repository({"a.txt": "1\n"})
    async with there.service(), there.service():
        body = {"repository": repository, "exec": {"script": "echo 2 >> a.txt"}}
        made = [await there.create(**body, branch=f"t/{number}") for number in range(4)]
        for task in made:
            await there.ended(task)
    await asyncio.gather(*later)
    for number in range(4):
        assert git(remote, "show", f"t/{number}:a.txt") == "1\n2\n"
        assert git(remote, "rev-list", "--count", f"main..t/{number}").strip() == "1"


async def test_what_is_refused_is_found_out(there: TaskScene) -> None:
    """Nobody tells of a command that its owner has refused: it is asked."""
    repository, _ = await there.repository({"a.txt": "1\n"})
    async with there.service():
        first = await there.create(exec={"script": "sleep 600"}, concurrency={"key": "k"})
        waits = await there.create(repository=repository, exec={"script": "true"}, concurrency={"key": "k"})
        await there.ask("DELETE", f"/api/v1/repositories/{repository}", status=204)
        await there.cancel(first["id"])
        found = await there.ended(waits, "failed")
        assert found["error"]["code"] == "repository_not_found"
        await there.nothing_is_left()
