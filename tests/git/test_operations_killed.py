"""The service is killed while an operation changes its remote: it goes on, and is done once."""

import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkouts import git
from tests.support.git_deaths import PUSH, PUSHES, Killer, back_again, killed_after, killing, served
from tests.support.git_person import Place
from tests.support.installation import Installation
from tests.support.operations import OperationPerson, refs_of
from tests.support.remotes import add_commit
from tests.support.repositories import GitScene, git_scene


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


async def place_with_topic(scene: GitScene) -> Place:
    """Both branches have a commit that the other one has not."""
    place = await Place.make(scene, protected=[])
    git(place.remote, "update-ref", "refs/heads/topic", "refs/heads/main")
    add_commit(place.remote, {"topic.txt": "t\n"}, branch="topic", message="Topic")
    add_commit(place.remote, {"main.txt": "m\n"}, message="Main")
    git(place.remote, "update-ref", "refs/tags/old", "refs/heads/main")
    await scene.ready(place.repository)
    return place


def was_merged(place: Place, done: Any) -> None:
    assert git(place.remote, "rev-list", "--merges", "main").split() == [done["commitSha"]]
    assert git(place.remote, "rev-list", "--count", "main").strip() == "4"


def was_picked(place: Place, done: Any) -> None:
    subjects = git(place.remote, "log", "--format=%s", "main").splitlines()
    assert subjects == ["Topic", "Main", "a commit"]
    assert refs_of(place)["refs/heads/main"] == done["commitSha"]


def was_reverted(place: Place, _done: Any) -> None:
    subjects = git(place.remote, "log", "--format=%s", "main").splitlines()
    assert subjects == ['Revert "Main"', "Main", "a commit"]


def was_tagged(place: Place, done: Any) -> None:
    assert git(place.remote, "cat-file", "-t", "v1").strip() == "tag"
    assert git(place.remote, "rev-parse", "v1^{commit}").strip() == done["commitSha"]


def was_deleted(place: Place, _done: Any) -> None:
    assert "refs/tags/old" not in refs_of(place)


ACTIONS: dict[str, tuple[dict[str, Any], Callable[[Place, Any], None]]] = {
    "merge": ({"type": "merge", "branch": "main", "source": "topic"}, was_merged),
    "cherry-pick": ({"type": "cherry-pick", "branch": "main", "commit": "topic"}, was_picked),
    "revert": ({"type": "revert", "branch": "main", "commit": "main"}, was_reverted),
    "tag": ({"type": "tag", "name": "v1", "message": "One"}, was_tagged),
    "delete-tag": ({"type": "delete-tag", "name": "old"}, was_deleted),
}


@pytest.mark.parametrize(
    ("name", "arrow"),
    [*(("merge", arrow) for arrow in PUSHES), *((name, "pushed, and not heard") for name in ACTIONS)],
)
async def test_it_is_done_once_whenever_it_dies(
    scene: GitScene, tmp_path: Path, name: str, arrow: str
) -> None:
    action, check = ACTIONS[name]
    async with served(scene, tmp_path) as (_, service):
        place = await place_with_topic(scene)
        person = OperationPerson(scene)
        with killing(scene, service, arrow) as killer:
            begun = await person.begin(place, **action)
            await back_again(scene, service)
            done = await person.ended(begun)
        assert killer.done
        assert (done["status"], done["changed"]) == ("succeeded", True), done
        check(place, done)


async def test_what_others_have_done_with_it_meanwhile_stays(scene: GitScene, tmp_path: Path) -> None:
    """The merge has arrived, nobody has heard of it, and somebody has gone on from there."""

    def go_on() -> None:
        add_commit(place.remote, {"more.txt": "m\n"}, message="More")

    async with served(scene, tmp_path) as (_, service):
        place = await place_with_topic(scene)
        person = OperationPerson(scene)
        with killing(scene, service, "pushed, and not heard"):
            begun = await person.begin(place, type="merge", branch="main", source="topic")
            await back_again(scene, service, go_on)
            done = await person.ended(begun)
        assert done["status"] == "succeeded"
        assert git(place.remote, "rev-list", "--merges", "main").split() == [done["commitSha"]]
        assert place.show("main", "%s") == "More"


async def test_what_is_on_its_way_still_counts(scene: GitScene, tmp_path: Path) -> None:
    """git goes on pushing after the service was killed, and the source goes on, too: it is one merge."""
    goes_on = threading.Event()
    async with served(scene, tmp_path) as (_, service):
        place = await place_with_topic(scene)
        topic = git(place.remote, "rev-parse", "topic").strip()
        person = OperationPerson(scene)
        killer = Killer(service, "GET", PUSH)

        def hold(handler: Any) -> bool:
            held = not killer.done
            killer(handler)
            if killer.done and held:
                goes_on.wait(60)
            return False

        def go_on() -> None:
            add_commit(place.remote, {"late.txt": "l"}, branch="topic")

        scene.remote.behaviours.append(hold)
        try:
            begun = await person.begin(place, type="merge", branch="main", source="topic")
            await back_again(scene, service, go_on)
            done = await person.ended(begun)
        finally:
            goes_on.set()
            scene.remote.behaviours.remove(hold)
        assert done["status"] == "succeeded"
        was_merged(place, done)
        assert topic in place.show("main", "%P").split()


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_it_is_done_once_however_often_it_dies(scene: GitScene, tmp_path: Path) -> None:
    """At moments of chance, as many as come."""
    begun_at, kills = time.monotonic(), 0
    names = list(ACTIONS)
    async with served(scene, tmp_path) as (_, service):
        person = OperationPerson(scene)
        for number in range(60):
            action, check = ACTIONS[names[number % len(names)]]
            place = await place_with_topic(scene)
            begun = await person.begin(place, **action)
            kills += await killed_after(scene, service, (number % 20) * 0.02)
            done = await person.ended(begun, within=120)
            assert done["status"] == "succeeded", done
            check(place, done)
    print(f"\noperations: 60 with {kills} SIGKILLs in {time.monotonic() - begun_at:.0f} s, each done once")
