"""Programs of the stack, run directly by tests: started, killed, paused and started again."""

import asyncio
import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from signalbox_cli.stack.program import Program

READY_WITHIN = 30.0


class Running:
    """One program as a process of the test run."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        options: dict[str, Any] = {}
        if self.program.user is not None:
            account = pwd.getpwnam(self.program.user)
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.program.cwd,
                env={**os.environ, **self.program.env},
                start_new_session=True,
                **options,
            )

    async def start(self) -> None:
        self.spawn()
        await self.ready()

    async def ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not await self.program.ready():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.program.name} did not start:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, together with what it has started."""
        assert self._process is not None
        children = psutil.Process(self.pid).children(recursive=True) if self.alive else []
        self._process.kill()
        self._process.wait()
        for child in children:
            with_suppressed_kill(child)

    async def wait(self, within: float = 15.0) -> int:
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, within)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def stop(self) -> None:
        if not self.alive:
            return
        self.signal(signal.SIGCONT)
        self.signal(self.program.stop_signal)
        try:
            await self.wait(self.program.stop_patience)
        except subprocess.TimeoutExpired:
            self.kill()


def with_suppressed_kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
