"""The service is killed at each arrow between here and the remote: what was begun ends once."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from signalbox_common.contracts.git import ChangeDelivery, CheckoutState, DeliveryState
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.forge_simulator import ForgeSimulator
from tests.support.git_deaths import FETCHES, PUSHES, Killer, back_again, killed_after, killing, served
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.lfs import ATTRIBUTES, LfsServer
from tests.support.processes import Running
from tests.support.repositories import GitScene, git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
PULL = {"target": "main", "title": "Change it"}


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.fixture(scope="module")
def forge(scene: GitScene) -> ForgeSimulator:
    return ForgeSimulator.beside(scene.remote)


@pytest.mark.parametrize("arrow", PUSHES)
async def test_one_commit_and_one_branch_whenever_it_dies(
    scene: GitScene, tmp_path: Path, arrow: str
) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        begun = await _killed_delivery(person, service, place, arrow)
        await _is_once(person, place, begun)


@pytest.mark.parametrize("arrow", FETCHES)
async def test_whoever_looks_whether_it_was_pushed_may_die_too(
    scene: GitScene, tmp_path: Path, arrow: str
) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        with killing(scene, service, arrow) as killer:
            begun = await _killed_delivery(person, service, place, "pushed, and not heard")
            await back_again(scene, service)
        assert killer.done
        await _is_once(person, place, begun)


async def _is_once(person: GitPerson, place: Place, begun: ChangeDelivery) -> None:
    done = await person.ended(begun)
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")
    assert place.branches() == {"task/1": done.commit}
    assert git(place.remote, "rev-list", "--count", f"{place.base}..task/1").strip() == "1"


async def test_what_was_merged_meanwhile_is_not_pushedback_again(scene: GitScene, tmp_path: Path) -> None:
    """The push has arrived, nobody has heard of it, and somebody has merged it and removed the branch."""

    def merge() -> None:
        git(place.remote, "update-ref", "refs/heads/main", "refs/heads/task/1")
        git(place.remote, "update-ref", "-d", "refs/heads/task/1")

    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        begun = await _killed_delivery(person, service, place, "pushed, and not heard", merge)
        done = await person.ended(begun)
        assert done.state is DeliveryState.PUSHED
        assert place.branches() == {}
        assert git(place.remote, "rev-list", "--count", "main").strip() == "2"


OPENS: dict[str, tuple[str, str, bool]] = {
    "looking whether it is there": ("GET", "/pulls", False),
    "opening": ("POST", "/pulls", False),
    "opened, and not heard": ("POST", "/pulls", True),
}


@pytest.mark.parametrize("arrow", OPENS)
@pytest.mark.parametrize("merged", [False, True])
async def test_one_pull_request_whenever_it_dies(
    scene: GitScene, forge: ForgeSimulator, tmp_path: Path, arrow: str, merged: bool
) -> None:
    """Also where somebody has merged it, as another commit, and removed the branch meanwhile."""
    method, what, afterwards = OPENS[arrow]
    async with served(scene, tmp_path) as (person, service):
        place = await Place.at_forge(scene)
        await scene.ready(place.repository)
        changes = await person.put(packed(place.base, CHANGES))
        killer = Killer(service, method, what)
        (forge.afterwards if afterwards else forge.before).append(killer)
        begun = await person.deliver(place.repository, place.base, changes, pull_request=PULL)

        def merge() -> None:
            if merged and forge.pulls.get(place.remote.stem):
                forge.merge(place.remote.stem, 1, squash=True)
                is_merged.append(True)

        is_merged: list[bool] = []

        await back_again(scene, service, merge)
        done = await person.ended(begun)
        assert killer.done
        assert done.state is DeliveryState.OPENED
        (pull,) = forge.pulls[place.remote.stem]
        assert (pull["number"], pull["head"]["sha"]) == (1, done.commit)
        assert is_merged or not (merged and afterwards)
        assert place.branches() == ({} if is_merged else {"task/1": done.commit})
        assert git(place.remote, "rev-list", "--count", "--all").strip() == "2"


async def _killed_delivery(
    person: GitPerson,
    service: Running,
    place: Place,
    arrow: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> ChangeDelivery:
    """It goes on by itself when the service is there again."""
    changes = await person.put(packed(place.base, CHANGES))
    with killing(person.scene, service, arrow) as killer:
        begun = await person.deliver(place.repository, place.base, changes)
        await back_again(person.scene, service, meanwhile)
    assert killer.done
    return begun


@pytest.mark.parametrize("arrow", FETCHES)
async def test_a_checkout_is_prepared_whenever_it_dies(scene: GitScene, tmp_path: Path, arrow: str) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        with killing(scene, service, arrow):
            begun = await person.prepare(place.repository)
            await back_again(scene, service)
        found = await person.settled(begun)
        assert (found.state, found.commit) == (CheckoutState.READY, place.base)
        assert (person.tree(found) / "tree" / "README.md").read_text() == "hello\n"


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_one_of_each_however_often_it_dies(
    scene: GitScene, forge: ForgeSimulator, tmp_path: Path
) -> None:
    """At moments of chance, as many as come."""
    begun, kills = time.monotonic(), 0
    async with served(scene, tmp_path) as (person, service):
        for number in range(60):
            place = await Place.at_forge(scene)
            await scene.ready(place.repository)
            changes = await person.put(packed(place.base, CHANGES))
            delivery = await person.deliver(place.repository, place.base, changes, pull_request=PULL)
            kills += await killed_after(scene, service, (number % 30) * 0.02)
            done = await person.ended(delivery, within=120)
            assert (done.state, place.branches()) == (DeliveryState.OPENED, {"task/1": done.commit})
            assert len(forge.pulls[place.remote.stem]) == 1
    took = time.monotonic() - begun
    print(f"\ndeliveries: 60 with {kills} SIGKILLs in {took:.0f} s, one commit and one pull request each")


async def test_what_lfs_keeps_is_whole_whenever_it_dies(scene: GitScene, tmp_path: Path) -> None:
    async with served(scene, tmp_path) as (person, service):
        server = LfsServer(scene.remote, scene.remote)
        files = {"a.bin": b"a" * 200_000, "b.bin": b"b" * 200_000}
        kept = {name: server.keep(content) for name, content in files.items()}
        scene.remote.new("killed-lfs.git", {".gitattributes": ATTRIBUTES, **kept})
        repository = (await scene.add("killed-lfs.git"))["id"]
        await scene.ready(repository)
        killer = Killer(service, "GET", "/lfs/")
        scene.remote.behaviours.insert(0, killer)
        try:
            asked = await person.prepare(repository, lfs=True)
            await back_again(scene, service)
            found = await person.settled(asked)
        finally:
            scene.remote.behaviours.remove(killer)
        assert (killer.done, found.state) == (True, CheckoutState.READY)
        tree = person.tree(found) / "tree"
        assert {name: (tree / name).read_bytes() for name in files} == files
