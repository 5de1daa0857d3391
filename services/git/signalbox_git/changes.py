"""Change sets and bundles on the disk: under the digest of their bytes, apart for each project."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from signalbox_common import changesets
from signalbox_git import errors

_DRAFT = ".draft-"
LARGEST = changesets.LARGEST + 64 * 1024 * 1024
"""With headers and the manifest."""
_ABANDONED = 24 * 3600.0


@dataclass(frozen=True)
class Draft:
    """What has come in, and is not under its name yet."""

    path: Path
    size: int


class ChangeFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, project: uuid.UUID, sha256: str) -> Path:
        return self._root / str(project) / sha256

    async def take(
        self, project: uuid.UUID, sha256: str, body: AsyncIterator[bytes], largest: int = LARGEST
    ) -> Draft:
        """Raises DigestMismatch and ChangesTooLarge; nothing stays of what is refused."""
        folder = self._root / str(project)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_DRAFT}{uuid.uuid4().hex}"
        try:
            return Draft(path, await _written(path, sha256, body, largest))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def keep(self, draft: Draft, project: uuid.UUID, sha256: str) -> None:
        draft.path.rename(self.path(project, sha256))

    def remove(self, project: uuid.UUID, sha256: str) -> None:
        self.path(project, sha256).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        for path in self._root.glob(f"*/{_DRAFT}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


async def _written(path: Path, sha256: str, body: AsyncIterator[bytes], largest: int) -> int:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > largest:
                raise errors.ChangesTooLarge
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if digest.hexdigest() != sha256:
        raise errors.DigestMismatch
    return size
