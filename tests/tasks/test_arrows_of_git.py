"""Git dies at each of its arrows while a task goes on: one commit, one pull request, and a good end."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.arrows import Arrow, Errand, PullErrand, Walk, both_sides
from tests.support.effects import AFTER
from tests.support.forge_simulator import OWNER, ForgeSimulator
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.tasks import TaskScene, task_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    folder = tmp_path_factory.mktemp("tasks")
    async with task_scene(shared_installation, folder, without="git") as scene, scene.service():
        await scene.with_api_token()
        yield scene


@pytest.fixture(scope="module")
def forge(there: TaskScene) -> ForgeSimulator:
    return ForgeSimulator.beside(there.remote)


async def walk_of_script(there: TaskScene, folder: Path, forge: ForgeSimulator) -> Walk:
    """With something new to fetch each time, and a pull request."""
    async with there.git_service():
        repository, remote = await there.repository({"a.txt": "1\n"}, owner=f"{OWNER}/", forge="github")

    async def errand() -> Errand:
        add_commit(remote, {"a.txt": uuid.uuid4().hex})
        return PullErrand(there, repository, remote, forge)

    return Walk(there, folder, "git", there.git_process, there.git_service, errand)


SAMPLE = (
    Arrow("deliver: program push (1)", AFTER),
    Arrow("deliver: POST /api/v3/repos/…/pulls (1)", AFTER),
)


async def test_it_dies_at_some_arrows(there: TaskScene, tmp_path: Path, forge: ForgeSimulator) -> None:
    assert await (await walk_of_script(there, tmp_path, forge)).dies_at(*SAMPLE) == []


@pytest.mark.proof
@pytest.mark.timeout(6000)
async def test_it_dies_at_every_arrow(there: TaskScene, tmp_path: Path, forge: ForgeSimulator) -> None:
    walk = await walk_of_script(there, tmp_path, forge)
    print(f"\n{await walk.dies_at_all(both_sides(await walk.arrows()))}")
