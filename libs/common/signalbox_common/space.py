"""What is left of the disk: whatever needs space is refused before the database meets a full one."""

import os
from pathlib import Path

from signalbox_common.errors import DiskFull


def free_of(folder: Path) -> float:
    """The part of its file system that is free."""
    found = os.statvfs(folder)
    return found.f_bavail / found.f_blocks if found.f_blocks else 1.0


class DiskSpace:
    """The file system that a folder is on, and the part of it that stays free."""

    def __init__(self, path: Path, least_free: float) -> None:
        self._path = path
        self._least_free = least_free

    def require(self) -> None:
        """Before anything that needs space."""
        if self.free < self._least_free:
            raise DiskFull

    def degraded(self) -> str | None:
        free = self.free
        return None if free >= self._least_free else f"{free:.1%} of the disk are free"

    @property
    def free(self) -> float:
        return free_of(self._path)
