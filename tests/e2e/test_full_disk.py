"""A stack whose disk fills up while people work: it says so, loses nothing, and heals by itself."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from signalbox_cli.stack.home import Home
from signalbox_common.testing import eventually
from tests.support import small_disk
from tests.support.stack import CLI, Stack

SIZE = 320
PROJECTS = "/api/v1/projects"


def _can_mount() -> bool:
    probe = "from tests.support.small_disk import *; mount_as_we_are(Path('/mnt'), MIB)"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _can_mount(), reason="nobody here may mount a disk")


class _Seen(Stack):
    """Through a process that has the disk: what leads there is not resolved, which would lead back."""

    @property
    def home(self) -> Home:
        return Home(self.path)


class SmallDisk:
    def __init__(self, stack: Stack, home: Path, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.stack = stack
        self._home = home
        self._process = process
        self._ballast = Path(f"/proc/{process.pid}/root{folder}/ballast")
        """As those see it who have the disk."""

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(small_disk.MIB)) or True:
                pass

    def empty(self) -> None:
        self._ballast.unlink()

    def status(self) -> str:
        """As whoever sees the disk is told."""
        enter = ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", *self._user(), *CLI, "status"]
        environment = self.stack.environment() | {"SIGNALBOX_HOME": str(self._home)}
        done = subprocess.run(enter, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def _user(self) -> list[str]:
        if os.getuid() == 0:
            return []
        return [f"--user=/proc/{self._process.pid}/ns/user", "--preserve-credentials"]


@asynccontextmanager
async def up_on_a_small_disk(stack: Stack, below: str = "") -> AsyncIterator[SmallDisk]:
    folder = stack.path / below
    folder.mkdir(parents=True)
    folder = folder.resolve()
    mounted = [sys.executable, "-m", small_disk.__name__, str(folder), str(SIZE), "--", *CLI, "up"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        mounted,
        env=stack.environment() | {"PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    seen = _Seen(Path(f"/proc/{process.pid}/root{stack.path.resolve()}"))
    try:

        async def ready() -> bool:
            return (seen.home.read_state() or {}).get("phase") == "ready"

        await eventually(ready, within=60, what="the stack is up")
        yield SmallDisk(seen, stack.path.resolve(), folder, process)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


async def _post(http: httpx.AsyncClient, created: list[str]) -> tuple[int, str]:
    answer = await http.post(PROJECTS, json={"name": uuid.uuid4().hex})
    problem: dict[str, Any] = {}
    if "json" in answer.headers.get("content-type", ""):
        problem = answer.json()
    if answer.status_code == 201:
        created.append(problem["id"])
    return answer.status_code, str(problem.get("code"))


@pytest.mark.parametrize("below", ["", "data/postgres"], ids=["all", "postgres"])
async def test_it_heals_by_itself(own_stack: Stack, below: str) -> None:
    own_stack.env["SIGNALBOX_DISK_LEAST_FREE"] = "0"  # nothing is refused before it meets the full disk
    own_stack.env["SIGNALBOX_COMMAND_PATIENCE"] = "1"
    async with up_on_a_small_disk(own_stack, below) as disk:
        await disk.stack.become_admin()
        created: list[str] = []
        headers = {"Authorization": f"Bearer {disk.stack.env['SIGNALBOX_TOKEN']}"}
        async with httpx.AsyncClient(base_url=disk.stack.url, headers=headers, timeout=30) as http:
            assert (await _post(http, created))[0] == 201
            disk.fill()
            answers = [await _post(http, created) for _ in range(12)]
            assert all(status in (201, 202, 503, 507) for status, _ in answers), answers
            assert "the disk is full" in disk.status()

            disk.empty()

            async def again() -> bool:
                ready = await http.get("/api/v1/readiness")
                return ready.status_code == 200 and (await _post(http, created))[0] == 201

            await eventually(again, within=60, what="projects are created again")
            for _ in range(5):
                assert (await _post(http, created))[0] == 201
            for each in created:
                assert (await http.get(f"{PROJECTS}/{each}")).status_code == 200, "acknowledged, and lost"
            assert "the disk is" not in disk.status()
