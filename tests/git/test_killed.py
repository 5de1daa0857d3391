"""The service is killed at each arrow between here and the remote: what was begun ends once."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import CheckoutState, DeliveryState
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.processes import Running
from tests.support.remotes import Behaviour
from tests.support.repositories import GitScene, git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
FETCH, PUSH = "git-upload-pack", "git-receive-pack"


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


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
    """Kills the service at the n-th request of that kind, and then lets it be."""

    def __init__(self, running: Running, method: str, what: str, count: int = 1) -> None:
        self._running, self._method, self._what, self._left = running, method, what, count
        self.done = False

    def __call__(self, handler: Any) -> bool:
        if self.done or handler.command != self._method or self._what not in handler.path:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self.done = True
        assert self._running.pid is not None
        os.kill(self._running.pid, signal.SIGKILL)
        return False


ARROWS: dict[str, tuple[str, str, int, bool]] = {
    "asking what is there": ("GET", FETCH, 1, False),
    "asking for the branch": ("POST", FETCH, 1, False),
    "beginning the push": ("GET", PUSH, 1, False),
    "pushing": ("POST", PUSH, 1, False),
    "pushed, and not heard": ("POST", PUSH, 1, True),
}


async def _again(service: Running, meanwhile: Callable[[], None] = lambda: None) -> None:
    async def dead() -> bool:
        return not service.alive

    await eventually(dead, what="the service is dead")
    meanwhile()
    await service.start()


@pytest.mark.parametrize("arrow", ARROWS)
async def test_one_commit_and_one_branch_whenever_it_dies(
    scene: GitScene, tmp_path: Path, arrow: str
) -> None:
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        await _killed_delivery(person, service, place, arrow, lambda: None)
        assert place.branches().keys() == {"task/1"}
        assert git(place.remote, "rev-list", "--count", f"{place.base}..task/1").strip() == "1"


async def test_what_was_merged_meanwhile_is_not_pushed_again(scene: GitScene, tmp_path: Path) -> None:
    """The push has arrived, nobody has heard of it, and somebody has merged it and removed the branch."""

    def merge() -> None:
        git(place.remote, "update-ref", "refs/heads/main", "refs/heads/task/1")
        git(place.remote, "update-ref", "-d", "refs/heads/task/1")

    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        await _killed_delivery(person, service, place, "pushed, and not heard", merge)
        assert place.branches() == {}
        assert git(place.remote, "rev-list", "--count", "main").strip() == "2"


async def _killed_delivery(
    person: GitPerson, service: Running, place: Place, arrow: str, meanwhile: Callable[[], None]
) -> None:
    method, what, count, after = ARROWS[arrow]
    remote = person.scene.remote
    changes = await person.put(packed(place.base, CHANGES))
    killer = Killer(service, method, what, count)
    hooks: list[Behaviour] = remote.afterwards if after else remote.behaviours
    hooks.append(killer)
    try:
        begun = await person.deliver(place.repository, place.base, changes)
        await _again(service, meanwhile)
    finally:
        hooks.clear()
    assert killer.done
    done = await person.ended(begun)
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")


@pytest.mark.parametrize("arrow", ["asking what is there", "asking for the branch"])
async def test_a_checkout_is_prepared_whenever_it_dies(scene: GitScene, tmp_path: Path, arrow: str) -> None:
    method, what, count, _ = ARROWS[arrow]
    async with served(scene, tmp_path) as (person, service):
        place = await Place.make(scene)
        await scene.ready(place.repository)
        scene.remote.behaviours.append(Killer(service, method, what, count))
        try:
            begun = await person.prepare(place.repository)
            await _again(service)
        finally:
            scene.remote.behaviours.clear()
        found = await person.settled(begun)
        assert (found.state, found.commit) == (CheckoutState.READY, place.base)
        assert (person.tree(found) / "tree" / "README.md").read_text() == "hello\n"


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_one_commit_and_one_branch_however_often_it_dies(scene: GitScene, tmp_path: Path) -> None:
    """At moments of chance, as many as come."""
    begun, kills = time.monotonic(), 0
    async with served(scene, tmp_path) as (person, service):
        for number in range(60):
            place = await Place.make(scene)
            await scene.ready(place.repository)
            changes = await person.put(packed(place.base, CHANGES))
            delivery = await person.deliver(place.repository, place.base, changes)
            pause = (number % 20) * 0.02
            ends = time.monotonic() + pause
            await eventually(lambda ends=ends: _later(ends), what="its moment has come")  # type: ignore[misc]
            if service.alive and service.pid is not None:
                os.kill(service.pid, signal.SIGKILL)
                kills += 1
            await _again(service)
            done = await person.ended(delivery, within=120)
            assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": done.commit})
    print(f"\ndeliveries: 60 with {kills} SIGKILLs in {time.monotonic() - begun:.0f} s, one commit each")


async def _later(moment: float) -> bool:
    return time.monotonic() >= moment
