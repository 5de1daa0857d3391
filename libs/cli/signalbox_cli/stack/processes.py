"""What runs: started by ourselves, or forked for us."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from signalbox_cli.stack.program import Program


class Process(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    async def wait(self) -> int | None:
        """How it ended, where that is known."""

    def send_signal(self, number: int) -> None: ...


Launch = Callable[[Program, Path], Awaitable[Process]]
"""Starts a program that writes to that log file; raises OSError where it cannot."""


class Executed:
    """A child process of ours."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def wait(self) -> int | None:
        return await self._process.wait()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)


async def execute(program: Program, log: Path) -> Process:
    """By its command line."""
    options: dict[str, Any] = {}
    if program.user is not None:
        account = pwd.getpwnam(program.user)
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=program.cwd,
            env=program.env if program.bare else {**os.environ, **program.env},
            start_new_session=True,
            **options,
        )
    return Executed(process)
