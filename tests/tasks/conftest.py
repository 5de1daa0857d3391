"""Tasks with their service, once for each module that says nothing else."""

from collections.abc import AsyncIterator

import pytest

from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene, scene.service():
        yield scene
