"""The service dies at each of the arrows of a run, on either side: what was begun is done once."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.arrows import Arrow, Errand, Walk, both_sides
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
    ):
        yield scene


async def test_look(there: TaskScene, tmp_path: Path) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})

    async def errand() -> Errand:
        return Errand(there, repository, remote)

    walk = Walk(there, tmp_path, "tasks", there.process, there.service, errand)
    arrows = await walk.arrows()
    print("\n".join(arrows))
    for arrow in list(both_sides(arrows))[::9]:
        import time
        t = time.monotonic()
        print(await walk.dies_at(arrow), arrow, round(time.monotonic() - t, 1))
