"""The service dies at each of the arrows of a run, on either side: what was begun is done once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.arrows import Arrow, Errand, PullErrand, TeamErrand, Walk, both_sides
from tests.support.effects import AFTER, BEFORE
from tests.support.forge_simulator import OWNER, ForgeSimulator
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
    ):
        await scene.with_api_token()
        await TeamErrand.prepare(scene)
        yield scene


@pytest.fixture(scope="module")
def forge(there: TaskScene) -> ForgeSimulator:
    return ForgeSimulator.beside(there.remote)


async def walk_of_script(there: TaskScene, folder: Path, forge: ForgeSimulator) -> Walk:
    """With a setup, a script and a pull request."""
    repository, remote = await there.repository({"a.txt": "1\n"}, owner=f"{OWNER}/", forge="github")

    async def errand() -> Errand:
        return PullErrand(there, repository, remote, forge)

    return Walk(there, folder, "tasks", there.process, there.service, errand)


async def walk_of_team(there: TaskScene, folder: Path) -> Walk:
    repository, remote = await there.repository({"a.txt": "1\n"})
    (folder := folder / "team").mkdir()

    async def errand() -> Errand:
        return TeamErrand(there, repository, remote)

    return Walk(there, folder, "tasks", there.process, there.service, errand)


SAMPLE = (
    Arrow("run prepare: cmd.git.v1.prepare (1)", AFTER),
    Arrow("run setup: PUT /sandboxes/…/processes/setup.1 (1)", AFTER),
    Arrow("run shell: commit log,runs (1)", BEFORE),
    Arrow("run collect: PUT /changes/… (1)", AFTER),
    Arrow("run: commit notices,outbox,projects,runs,tasks,usage_days,work (1)", AFTER),
)
SAMPLE_OF_TEAM = (Arrow("tasks-v1-answer-run: answer (1)", BEFORE),)


async def test_it_dies_at_some_arrows(there: TaskScene, tmp_path: Path, forge: ForgeSimulator) -> None:
    assert await (await walk_of_script(there, tmp_path, forge)).dies_at(*SAMPLE) == []


async def test_it_dies_at_some_arrows_of_a_team(there: TaskScene, tmp_path: Path) -> None:
    assert await (await walk_of_team(there, tmp_path)).dies_at(*SAMPLE_OF_TEAM) == []


@pytest.mark.proof
@pytest.mark.timeout(6000)
async def test_it_dies_at_every_arrow(there: TaskScene, tmp_path: Path, forge: ForgeSimulator) -> None:
    """Those of a script, and what a team has beside them."""
    script, team = await walk_of_script(there, tmp_path, forge), await walk_of_team(there, tmp_path)
    arrows = await script.arrows()
    others = [name for name in await team.arrows() if name not in arrows]
    print(f"\na script: {await script.dies_at_all(both_sides(arrows))}", end="")
    print(f"\na team: {await team.dies_at_all(both_sides(others))}")
