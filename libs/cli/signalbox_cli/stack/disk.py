"""The disk that the stack fills: said when little of it is left, and healed when there is room again."""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from signalbox_cli.stack.child import Child
from signalbox_cli.stack.home import Home

LOOK_EVERY = 0.5
LOW, FULL = 0.05, 0.005
"""Parts of it that are free: what needs much space is refused below the first."""
_NO_ROOM = b"no space left on device"
_HURT = frozenset({"nats"})
"""What goes on without storing anything once it has met a full disk, until it is started anew."""


def state_of(home: Home) -> dict[str, Any]:
    """`ok`, `low` or `full`, and how much is free; of the disk that has least, where there are several."""
    folders = (home.path, home.data / "postgres", home.data / "nats")
    found = [os.statvfs(folder) for folder in folders if folder.exists()]
    free, left = min((_free(each), each.f_bavail * each.f_frsize) for each in found)
    state = "full" if free < FULL else "low" if free < LOW else "ok"
    return {"state": state, "free": round(free, 4), "freeBytes": left}


def _free(found: os.statvfs_result) -> float:
    return found.f_bavail / found.f_blocks if found.f_blocks else 1.0


class DiskWatch:
    """A server may have met a full disk although we never saw it full: its log says so."""

    def __init__(
        self,
        home: Home,
        children: Callable[[], Iterable[Child]],
        log_of: Callable[[str], Path],
        say: Callable[[str, str], None],
    ) -> None:
        self._home = home
        self._children = children
        self._log_of = log_of
        self._say = say
        self._state = "ok"
        self._hurt: set[str] = set()
        self._read: dict[str, int] = {}
        """How far each log is known."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY)

    def look(self) -> None:
        now = state_of(self._home)
        state = now["state"]
        children = [child for child in self._children() if child.program.name in _HURT]
        for child in children:
            if state == "full" or self._has_met_it(child.program.name):
                self._hurt.add(child.program.name)
        if state != self._state:
            self._state = state
            told = {"ok": "there is room on the disk again", "low": "the disk is nearly full"}
            said = f"{told.get(state, 'the disk is full')}: {now['free']:.1%} are free"
            self._say(said, "green" if state == "ok" else "bold red")
        if state == "full":
            return
        for child in children:
            if child.program.name in self._hurt:
                self._hurt.discard(child.program.name)
                self._say(f"{child.program.name} has met a full disk, starting it again", "yellow")
                child.renew()

    def _has_met_it(self, name: str) -> bool:
        """By what it has logged since the last look."""
        log = self._log_of(name)
        try:
            with log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                known = self._read.get(name, size)
                self._read[name] = size
                file.seek(known if known <= size else 0)
                return _NO_ROOM in file.read()
        except OSError:
            return False
