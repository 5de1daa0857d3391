"""What is left of the disk: whatever needs space is refused before the database meets a full one."""

import os
from pathlib import Path

from signalbox_common.errors import DiskFull


class DiskSpace:
    """The file system that a folder is on, and the part of it that stays free."""

    def __init__(self, path: Path, least_free: float) -> None:
        self._path = path
        self._least_free = least_free

    def require(self) -> None:
        """Before anything that needs space."""
        if self._free < self._least_free:
            raise DiskFull

    def degraded(self) -> str | None:
        free = self._free
        return None if free >= self._least_free else f"{free:.1%} of the disk are free"

    @property
    def _free(self) -> float:
        found = os.statvfs(self._path)
        return found.f_bavail / found.f_blocks if found.f_blocks else 1.0
