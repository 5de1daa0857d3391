"""Kept and signed commits are the same ones, and there once, whenever the service dies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signalbox_common.contracts.git import DeliveryState
from tests.git.test_commit_policies import Keys
from tests.git.test_killed import CHANGES
from tests.support.bundles import Workshop
from tests.support.checkouts import git
from tests.support.commits import packed
from tests.support.git_deaths import PUSHES, back_again, killing, served
from tests.support.git_person import Place
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.repositories import GitScene, git_scene


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.mark.parametrize("arrow", PUSHES)
async def test_kept_commits_are_there_once(scene: GitScene, tmp_path: Path, arrow: str) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        shop = Workshop(place.remote, tmp_path / "workshop")
        tip = shop.chain(place.base, 3)
        with killing(scene, service, arrow) as killer:
            begun = await person.deliver_bundle(place, shop.bundle(place.base, tip))
            await back_again(scene, service)
        assert killer.done
        done = await person.ended(begun)
        assert (done.state, done.commit) == (DeliveryState.PUSHED, tip)
        assert place.branches() == {"task/1": tip}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("arrow", PUSHES)
async def test_signed_commits_are_there_once(
    scene: GitScene, tmp_path: Path, arrow: str, moved: bool
) -> None:
    """Also where they go on top of what others have pushed."""
    keys = Keys(tmp_path / "keys")
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene, signingKey=keys.private)
        await scene.ready(place.repository)
        if moved:
            git(place.remote, "update-ref", "refs/heads/task/1", place.base)
            add_commit(place.remote, {"theirs.txt": "x\n"}, branch="task/1")
        with killing(scene, service, arrow) as killer:
            begun = await person.deliver(place.repository, place.base, packed(place.base, CHANGES))
            await back_again(scene, service)
        assert killer.done
        done = await person.ended(begun)
        assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": done.commit})
        own = git(place.remote, "rev-list", "--author=Alice", f"{place.base}..task/1").split()
        assert own == [done.commit]
        assert "Good" in keys.verify(place, "task/1")
