"""Kills by SIGKILL, and watches what the supervisor makes of it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable

import psutil

from signalbox_common.testing import eventually
from tests.chaos.ledger import Kill, Ledger
from tests.chaos.plan import Plan
from tests.chaos.stack import Stack

VICTIM_WITHIN = 20.0
"""Seconds to wait for a process that can be killed: it may still be starting after the kill before."""
ALONE_WITHIN = 60.0
"""Seconds after which nobody waits any longer for the end of a single kill."""
BREATH = 1.0
"""Seconds between the end of one single kill and the next."""

_WATCH_EVERY = 0.03


class Killer:
    """SIGKILLs processes of a stack, found by their pids in the stack's own state."""

    def __init__(self, running: Stack, ledger: Ledger) -> None:
        self._stack = running
        self._ledger = ledger
        self._killed: set[int] = set()

    async def by_plan(self, plan: Plan) -> None:
        """Whatever the state of everything else: kills may fall into the recovery from others."""
        began = time.monotonic()
        for program, moment in zip(plan.victims, plan.moments, strict=True):
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            await self._kill(program)

    async def one_by_one(self, programs: Iterable[str]) -> None:
        """Each when the one before runs again and commands succeed again."""
        for program in programs:
            await asyncio.sleep(BREATH)
            await self._is_over(await self._kill(program, alone=True))

    async def _is_over(self, kill: Kill) -> None:
        async def over() -> bool:
            return kill.back is not None and self._ledger.caught_up(kill) is not None

        await eventually(
            over, within=ALONE_WITHIN, what=f"the recovery from the death of {kill.program} alone"
        )

    async def _kill(self, program: str, *, alone: bool = False) -> Kill:
        async def alive() -> int | None:
            pid = self._stack.programs()[program]["pid"]
            return pid if pid not in self._killed and self._is_ours(pid) else None

        pid = await eventually(alive, within=VICTIM_WITHIN, what=f"a process of {program} to kill")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._killed.add(pid)
        kill = Kill(program, pid, time.monotonic(), alone)
        self._ledger.kills.append(kill)
        return kill

    def _is_ours(self, pid: int | None) -> bool:
        """The state may be a moment old: nobody else's process is killed."""
        if pid is None:
            return False
        try:
            process = psutil.Process(pid)
            return self._stack.owns(process) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    async def watch(self) -> None:
        """Notes when each killed program runs again; never ends by itself."""
        known: dict[str, tuple[str, int | None]] = {}
        while True:
            programs = self._stack.programs()
            for name, row in programs.items():
                if known.get(name) != (row["state"], row["pid"]):
                    known[name] = (row["state"], row["pid"])
                    self._ledger.states.append((time.monotonic(), name, *known[name]))
            for kill in self._ledger.kills:
                row = programs[kill.program]
                if kill.back is None and row["state"] == "running" and row["pid"] not in self._killed:
                    kill.back = time.monotonic()
            await asyncio.sleep(_WATCH_EVERY)
