"""How much a sandbox has on the disk: no file system tells an ordinary user, so it is counted."""

import os
import signal
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.loop import Loop, Timer

_RESULT = struct.Struct("!QQ")
LOOK_EVERY = 1.0
"""Seconds between two looks at how full the disk is, while programs run."""
NOTICED = 16 * 1024 * 1024
"""Bytes that the disk has lost since the last count, by whomever, before it is counted again."""
NOTICED_ENTRIES = 2_000
COUNT_EVERY = 30.0
"""Seconds after which it is counted in any case."""
_COUNT_WITHIN = 120


class DiskWatch:
    """Counts in a child, only while something runs; says when there is more than is allowed."""

    def __init__(
        self,
        loop: Loop,
        folder: Path,
        *,
        most_bytes: int | None,
        most_entries: int | None,
        runs: Callable[[], bool],
        exceeded: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._runs = runs
        self._exceeded = exceeded
        self._free = (2**63, 2**63)
        """Bytes and entries that were left at the last count."""
        self._since_count = 0.0
        self._timer: Timer | None = None
        self._child: int | None = None
        self._doubted = False
        """Whether it may have become less since it was too much."""
        self.used = (0, 0)
        """Bytes and entries, at the last count."""

    @property
    def is_over(self) -> bool:
        size, entries = self.used
        return (self._most_bytes is not None and size > self._most_bytes) or (
            self._most_entries is not None and entries > self._most_entries
        )

    @property
    def room(self) -> int | None:
        """Bytes that may still be written; None where nobody limits them."""
        if self.is_over:
            return 0
        return self._most_bytes - self.used[0] if self._most_bytes is not None else None

    def changed(self) -> None:
        """Something from outside has been at its files."""
        self._doubted = self.is_over
        self.wake()

    def wake(self) -> None:
        """Something runs from now on."""
        if self._timer is None and (self._most_bytes is not None or self._most_entries is not None):
            self._timer = self._loop.after(LOOK_EVERY, self._look)

    def end(self) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)

    def _look(self) -> None:
        self._timer = None
        self._since_count += LOOK_EVERY
        found = os.statvfs(self._folder)
        free = (found.f_bavail * found.f_frsize, found.f_favail)
        less = (
            self._free[0] - free[0] > NOTICED
            or self._free[1] - free[1] > NOTICED_ENTRIES
            or self._since_count >= COUNT_EVERY
        )
        if (less or self._doubted) and self._child is None:
            self._free, self._since_count, self._doubted = free, 0.0, False
            self.count()
        if self._runs() or self._child is not None:
            self.wake()

    def count(self) -> None:
        """Beside all else: there may be any number of files."""
        told, tell = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                signal.alarm(_COUNT_WITHIN)
                libc.close_all_but(tell)  # or others would wait for us where they wait for the keeper
                os.write(tell, _RESULT.pack(*_measured(self._folder, self._most_bytes, self._most_entries)))
            finally:
                os._exit(0)
        os.close(tell)
        self._loop.on_readable(told, partial(self._counted, self._child, told))

    def _counted(self, child: int, told: int) -> None:
        said = os.read(told, _RESULT.size)
        self._loop.forget(told)
        os.close(told)
        os.waitpid(child, 0)
        self._child = None
        if len(said) == _RESULT.size:
            size, entries = _RESULT.unpack(said)
            self.used = (size, entries)
            if self.is_over:
                self._exceeded()


def _measured(folder: Path, most_bytes: int | None, most_entries: int | None) -> tuple[int, int]:
    """What is more than is allowed is not counted to its end."""
    size = entries = 0
    waiting = [os.fsencode(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                entries += 1
                with suppress(OSError):
                    known = entry.stat(follow_symlinks=False)
                    size += known.st_blocks * 512 // max(1, known.st_nlink if not _is_folder(known) else 1)
                    if _is_folder(known):
                        waiting.append(entry.path)
                if (most_bytes is not None and size > most_bytes) or (
                    most_entries is not None and entries > most_entries
                ):
                    return size, entries
    return size, entries


def _is_folder(known: os.stat_result) -> bool:
    return stat.S_ISDIR(known.st_mode)
