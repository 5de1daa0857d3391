"""A whole stack, in a home of its own."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from signalbox_cli.operator import read_url
from signalbox_cli.stack import leftovers
from signalbox_cli.stack.home import MARK, Home
from tests.support.bounds import AS_ENVIRONMENT
from tests.support.run import run_folder

KEEP = "SIGNALBOX_CHAOS_KEEP"
START_WITHIN = 95.0
STOP_WITHIN = 75.0


@dataclass
class Stack:
    """A stack under the real supervisor, in a home of its own."""

    home: Home
    url: str = ""
    supervisor: int = 0

    @property
    def course(self) -> Path:
        """Where a run notes what happened when, beside the logs."""
        return self.home.logs / "course.txt"

    async def up(self) -> None:
        await self._signalbox("up", "--detach", within=START_WITHIN)
        self.url = read_url(self.home)
        self.supervisor = int(self.state()["pid"])

    async def down(self) -> None:
        """Takes everything down, and makes sure that nothing of it is left."""
        try:
            await self._signalbox("down", within=STOP_WITHIN)
        finally:
            left = {process.pid: process for process in (*leftovers.find(self.home), *self._inside())}
            for process in left.values():
                with suppress(psutil.Error):
                    process.kill()
        assert not left, f"`signalbox down` left processes behind: {list(left.values())}"

    def owns(self, process: psutil.Process) -> bool:
        """By its mark, or by where it works: programs that set their title wipe out the mark."""
        try:
            marked: bool = process.environ().get(MARK) == self.home.mark
            return marked or Path(process.cwd()).is_relative_to(self.home.path)
        except (psutil.Error, OSError):
            return False

    def _inside(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self.owns(process)]

    def state(self) -> dict[str, Any]:
        """What the supervisor says; it writes this anew with every change."""
        state = self.home.read_state()
        assert state is not None, "the supervisor is gone"
        return state

    def programs(self) -> dict[str, dict[str, Any]]:
        state = self.state()
        return {row["name"]: row for row in (*state["services"], *state["servers"])}

    def logged(self, text: str) -> int:
        """How many log lines of this stack hold a text."""
        files = self.home.logs.glob("*.log")
        return sum(file.read_text(encoding="utf-8", errors="replace").count(text) for file in files)

    async def _signalbox(self, *arguments: str, within: float) -> None:
        # Servers that somebody else runs are not ours to kill; hashing passwords is not what is tested.
        env = {
            k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "NATS_URL", MARK)
        }
        env |= {
            "SIGNALBOX_HOME": str(self.home.path),
            "SIGNALBOX_PORT": "0",
            "SIGNALBOX_ARGON2_MEMORY_KIB": "64",
            "SIGNALBOX_ARGON2_TIME": "1",
            **AS_ENVIRONMENT,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "signalbox_cli.main",
            *arguments,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), within)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"signalbox {arguments[0]} took more than {within} s") from None
        assert process.returncode == 0, f"signalbox {arguments[0]} failed:\n{output.decode()}"


@asynccontextmanager
async def stack() -> AsyncIterator[Stack]:
    """Up, and down again whatever happens; the home stays, for its logs, if something failed or on demand."""
    run_folder()  # ends what is started here; the home stays outside of it, for its logs
    running = Stack(Home(Path(tempfile.mkdtemp(prefix="signalbox-chaos-")).resolve()))
    try:
        try:
            await running.up()
            yield running
        finally:
            await running.down()
    except BaseException:
        print(f"\nthe stack's logs are kept in {running.home.logs}")
        raise
    if os.environ.get(KEEP):
        print(f"\nthe course of the run is kept in {running.course}")
    else:
        shutil.rmtree(running.home.path)
