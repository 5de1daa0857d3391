"""What templates have below their prefix, on the disk of this node."""

import asyncio
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from signalbox_common.keys import uuid7

_DRAFT, _GONE = ".draft-", ".gone-"
_BLOCK = 512


class Layers:
    """`<project>/<id>`: read by all sandboxes of that template, written by none; nodes share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, project: uuid.UUID, layer: uuid.UUID) -> Path | None:
        """None where it is not there; never of another project."""
        found = self._path(project, layer)
        return found if found.is_dir() else None

    def _path(self, project: uuid.UUID, layer: uuid.UUID) -> Path:
        return self._folder / str(project) / str(layer)

    async def keep(self, source: Path, project: uuid.UUID, layer: uuid.UUID) -> int | None:
        """Its size; None where there is nothing to keep. Done twice, it is found done."""
        return await asyncio.to_thread(self._keep, source, self._path(project, layer))

    def _keep(self, source: Path, target: Path) -> int | None:
        if not target.is_dir():
            if not source.is_dir():
                return None
            for folder in (self._folder, target.parent):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o711)  # sandboxes are another user's, whatever our umask says
            source.chmod(0o755)
            try:
                source.rename(target)
            except OSError:  # on another disk
                draft = target.with_name(f"{_DRAFT}{uuid7()}")
                try:
                    shutil.copytree(source, draft, symlinks=True, copy_function=_copied)
                    _take_over(source, draft)
                    draft.rename(target)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        return _size(target)

    # -- what nobody has any more ------------------------------------------------------------------------

    def all(self) -> Iterator[uuid.UUID]:
        for path in self._folder.glob("*/*"):
            with suppress(ValueError):
                yield uuid.UUID(path.name)

    async def sweep(self, older_than: float) -> None:
        """What was cut off in the middle."""
        for path in [*self._folder.glob(f"*/{_DRAFT}*"), *self._folder.glob(f"*/{_GONE}*")]:
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than:
                    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def remove(self, layer: uuid.UUID) -> bool:
        """False where a sandbox still holds it."""
        return all([await asyncio.to_thread(_remove, path) for path in self._folder.glob(f"*/{layer}")])


def _copied(source: str, target: str) -> None:
    shutil.copy2(source, target, follow_symlinks=False)
    _take_over(Path(source), Path(target))


def _take_over(source: Path, target: Path) -> None:
    """It stays whose it was."""
    if os.geteuid() == 0:
        found = source.lstat()
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)


def _remove(path: Path) -> bool:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(f"{_GONE}{path.name}")
        path.rename(gone)
    except BlockingIOError:
        return False
    finally:
        os.close(folder)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _size(folder: Path) -> int:
    """Blocks, as the disk counts them; nothing is followed, and what cannot be entered is left out."""
    total = 0
    waiting = [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
    return total
