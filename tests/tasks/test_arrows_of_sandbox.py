"""The service of sandboxes dies at each of its arrows while a task goes on: each script runs once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.arrows import Arrow, Errand, Walk, both_sides
from tests.support.effects import AFTER, BEFORE
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    folder = tmp_path_factory.mktemp("tasks")
    async with task_scene(shared_installation, folder, without="sandbox") as scene, scene.service():
        await scene.with_api_token()
        yield scene


async def walk_of_script(there: TaskScene, folder: Path) -> Walk:
    repository, remote = await there.repository({"a.txt": "1\n"})

    async def errand() -> Errand:
        return Errand(there, repository, remote)

    return Walk(there, folder, "sandbox", there.sandbox_process, there.sandbox_service, errand)


SAMPLE = (
    Arrow("sandbox: keeper keep (1)", AFTER),
    Arrow("POST /sandboxes/…/freeze: keeper freeze (1)", BEFORE),
)


async def test_it_dies_at_some_arrows(there: TaskScene, tmp_path: Path) -> None:
    assert await (await walk_of_script(there, tmp_path)).dies_at(*SAMPLE) == []


@pytest.mark.proof
@pytest.mark.timeout(6000)
async def test_it_dies_at_every_arrow(there: TaskScene, tmp_path: Path) -> None:
    walk = await walk_of_script(there, tmp_path)
    print(f"\n{await walk.dies_at_all(both_sides(await walk.arrows()))}")
