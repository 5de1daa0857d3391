"""Sandboxes come and go while their service and keepers are killed: nothing stays, every record is true."""

import asyncio
import random
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from signalbox_common import background
from signalbox_common.testing import eventually
from tests.support import services
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.timeout(3600)

AT_ONCE = 4
ENDED = {"destroyed", "failed", "lost"}
AWAY = {500, 502, 503, 504, 507}


@pytest.mark.parametrize(("cycles", "kills"), [(12, 3), pytest.param(5_000, 200, marks=pytest.mark.proof)])
async def test_whatever_is_killed(installation: Installation, cycles: int, kills: int) -> None:
    async with sandboxes_of(installation) as scene:
        await scene.with_api_token()
        service = scene.process(scene.node, scene.node.folder.with_suffix(".service.log"))
        await service.start()
        restarting = asyncio.create_task(services.restarting(service))
        mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
        storm = Storm(scene, cycles)
        killing = asyncio.create_task(storm.kill(service, kills))
        try:
            await asyncio.gather(*(storm.cycle() for _ in range(AT_ONCE)))
            await killing
            await storm.everything_has_ended()
            await scene.nothing_is_left()
            assert len(Path("/proc/self/mountinfo").read_text().splitlines()) == mounts
            await eventually(lambda: settled(installation), what="no work and nobody who waits is left")
            descriptors = psutil.Process(service.pid).num_fds()
            assert descriptors < 200, descriptors
        finally:
            await background.end(killing, restarting)
            await service.stop()
        print(f"\n{cycles} cycles, {kills} kills in {storm.seconds:.0f} s: {dict(storm.ends)}")


async def settled(installation: Installation) -> bool:
    return not await installation.count("sandbox.work") and not await installation.count(
        "sandbox.waiting_commands"
    )


class Storm:
    def __init__(self, scene: SandboxScene, cycles: int) -> None:
        self._scene = scene
        self._left = cycles
        self._alive: set[str] = set()
        self._made: list[str] = []
        self.ends: Counter[str] = Counter()
        self._random = random.Random(14)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    async def cycle(self) -> None:
        while self._left > 0:
            self._left -= 1
            made = await self._until_answered("POST", SANDBOXES, {"projectId": self._scene.project})
            assert made.status_code in (201, 202), made.text
            sandbox = made.json()["id"]
            self._made.append(sandbox)
            self._alive.add(sandbox)
            how = self._random.random()
            if how < 0.3:
                await self._until_answered("POST", f"{SANDBOXES}/{sandbox}/pause")
            if how < 0.15:
                await self._until_answered("POST", f"{SANDBOXES}/{sandbox}/resume")
            await self._until_answered("POST", f"{SANDBOXES}/{sandbox}/exec", {"command": "echo hello"})
            await self._until_answered("DELETE", f"{SANDBOXES}/{sandbox}")
            self._alive.discard(sandbox)

    async def _until_answered(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """As clients do: under the same key, until somebody is there who knows."""
        headers = self._scene.headers | ({"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {})
        deadline = time.monotonic() + 120
        while True:
            answer = await self._scene.http.request(method, path, json=body, headers=headers)
            if answer.status_code not in AWAY:
                return answer
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.1)

    async def kill(self, service: Any, kills: int) -> None:
        """The service, or the keeper of a sandbox that somebody uses, at even distances."""
        cycles = self._left
        for number in range(kills):
            while self._left > cycles - (number + 1) * cycles // (kills + 1):
                await asyncio.sleep(0.02)
            if number % 2 and self._alive:
                victim = self._random.choice(sorted(self._alive))
                with suppress(Exception):  # it may have ended by itself
                    psutil.Process(await self._scene.keeper(victim)).kill()
            elif service.alive:
                service.kill()

    async def everything_has_ended(self) -> None:
        """And its record says so."""

        async def ended() -> bool:
            found: dict[str, str] = {}
            cursor: str | None = None
            while True:
                params = {"projectId": self._scene.project, "limit": "200"} | (
                    {"cursor": cursor} if cursor else {}
                )
                page = await self._scene.http.get(SANDBOXES, params=params, headers=self._scene.headers)
                if page.status_code != 200:
                    return False
                found |= {each["id"]: each["status"] for each in page.json()["items"]}
                cursor = page.json()["nextCursor"]
                if cursor is None:
                    break
            self.ends = Counter(found.values())
            assert set(self._made) <= found.keys(), "a sandbox is not known any more"
            return set(found.values()) <= ENDED

        await eventually(ended, within=60, what="all have ended")
