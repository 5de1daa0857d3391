"""The service is killed at each arrow between here and the remote: what was begun ends once."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import ChangeDelivery, CheckoutState, DeliveryState
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.forge_simulator import ForgeSimulator
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.lfs import ATTRIBUTES, LfsServer
from tests.support.processes import Running
from tests.support.repositories import GitScene, git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
PULL = {"target": "main", "title": "Change it"}
FETCH, PUSH = "git-upload-pack", "git-receive-pack"


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.fixture(scope="module")
def forge(scene: GitScene) -> ForgeSimulator:
    return ForgeSimulator.beside(scene.remote)


@asynccontextmanager
async def served(scene: GitScene, folder: Path) -> AsyncIterator[tuple[GitPerson, Running]]:
    service = scene.process(folder / "git.log")
    service.program.env.update({"SIGNALBOX_PREPARE_FRESHNESS": "0"})
    async with scene.installation.bus() as bus:
        await service.start()
        try:
            yield GitPerson(scene, bus), service
        finally:
            await service.stop()


class Killer:
    """Kills the service at the next request of that kind, and then lets it be."""

    def __init__(self, running: Running, method: str, what: str) -> None:
        self._running, self._method, self._what = running, method, what
        self.done = False

    def __call__(self, handler: Any) -> bool:
        if self.done or handler.command != self._method or self._what not in handler.path:
            return False
        self.done = True
        os.kill(self._running.pid, signal.SIGKILL)
        return False


PUSHES: dict[str, tuple[str, str, bool]] = {
    "beginning the push": ("GET", PUSH, False),
    "pushing": ("POST", PUSH, False),
    "pushed, and not heard": ("POST", PUSH, True),
}
FETCHES: dict[str, tuple[str, str, bool]] = {
    "asking what is there": ("GET", FETCH, False),
    "fetching": ("POST", FETCH, False),
    "fetched, and not heard": ("POST", FETCH, True),
}
ARROWS = PUSHES | FETCHES


async def _again(scene: GitScene, service: Running, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The leases of the dead end at once: how long that takes otherwise, others have shown."""

    async def dead() -> bool:
        return not service.alive

    await eventually(dead, what="the service is dead")
    meanwhile()
    async with scene.installation.sql() as connection:
        await connection.execute("update git.work set lease_until = git.clock() where state = 'running'")
    await service.start()


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
            await _again(scene, service)
        assert killer.done
        await _is_once(person, place, begun)


async def _is_once(person: GitPerson, place: Place, begun: ChangeDelivery) -> None:
    done = await person.ended(begun)
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")
    assert place.branches() == {"task/1": done.commit}
    assert git(place.remote, "rev-list", "--count", f"{place.base}..task/1").strip() == "1"


async def test_what_was_merged_meanwhile_is_not_pushed_again(scene: GitScene, tmp_path: Path) -> None:
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

        await _again(scene, service, merge)
        done = await person.ended(begun)
        assert killer.done
        assert done.state is DeliveryState.OPENED
        (pull,) = forge.pulls[place.remote.stem]
        assert (pull["number"], pull["head"]["sha"]) == (1, done.commit)
        assert is_merged or not (merged and afterwards)
        assert place.branches() == ({} if is_merged else {"task/1": done.commit})
        assert git(place.remote, "rev-list", "--count", "--all").strip() == "2"


@contextmanager
def killing(scene: GitScene, service: Running, arrow: str) -> Iterator[Killer]:
    method, what, afterwards = ARROWS[arrow]
    killer = Killer(service, method, what)
    hooks = scene.remote.afterwards if afterwards else scene.remote.behaviours
    hooks.append(killer)
    try:
        yield killer
    finally:
        hooks.remove(killer)


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
        await _again(person.scene, service, meanwhile)
    assert killer.done
    return begun


@pytest.mark.parametrize("arrow", FETCHES)
async def test_a_checkout_is_prepared_whenever_it_dies(scene: GitScene, tmp_path: Path, arrow: str) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        with killing(scene, service, arrow):
            begun = await person.prepare(place.repository)
            await _again(scene, service)
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
            pause = (number % 30) * 0.02
            ends = time.monotonic() + pause
            await eventually(partial(_later, ends), what="its moment has come")
            if service.alive and service.pid is not None:
                os.kill(service.pid, signal.SIGKILL)
                kills += 1
            await _again(scene, service)
            done = await person.ended(delivery, within=120)
            assert (done.state, place.branches()) == (DeliveryState.OPENED, {"task/1": done.commit})
            assert len(forge.pulls[place.remote.stem]) == 1
    took = time.monotonic() - begun
    print(f"\ndeliveries: 60 with {kills} SIGKILLs in {took:.0f} s, one commit and one pull request each")


async def _later(moment: float) -> bool:
    return time.monotonic() >= moment


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
            await _again(scene, service)
            found = await person.settled(asked)
        finally:
            scene.remote.behaviours.remove(killer)
        assert (killer.done, found.state) == (True, CheckoutState.READY)
        tree = person.tree(found) / "tree"
        assert {name: (tree / name).read_bytes() for name in files} == files
