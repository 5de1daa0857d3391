"""The git service in a process of its own, killed at an arrow between here and a remote, or at any moment."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from signalbox_common.testing import eventually
from tests.support.git_person import GitPerson
from tests.support.processes import Running
from tests.support.repositories import GitScene

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
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


@asynccontextmanager
async def served(
    scene: GitScene, folder: Path, more: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[GitPerson, Running]]:
    service = scene.process(folder / "git.log")
    service.program.env.update({"SIGNALBOX_PREPARE_FRESHNESS": "0", **(more or {})})
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


async def back_again(scene: GitScene, service: Running, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Once it is dead. Its leases end at once: how long that takes otherwise, others have shown."""

    async def dead() -> bool:
        return not service.alive

    await eventually(dead, what="the service is dead")
    meanwhile()
    async with scene.installation.sql() as connection:
        await connection.execute("update git.work set lease_until = git.clock() where state = 'running'")
    await service.start()


async def killed_after(scene: GitScene, service: Running, seconds: float) -> int:
    """Wherever it is then; answers how often, and it is back again."""
    await eventually(partial(_has_come, time.monotonic() + seconds), what="its moment has come")
    kills = 0
    if service.alive and service.pid is not None:
        os.kill(service.pid, signal.SIGKILL)
        kills = 1
    await back_again(scene, service)
    return kills


async def _has_come(moment: float) -> bool:
    return time.monotonic() >= moment
