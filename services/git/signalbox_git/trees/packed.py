"""A tree as a tar: the same bytes each time, since a tree is never changed."""

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

PARTS = ("tree", "git")
_PIECE = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


def packed(folder: Path) -> Iterator[bytes]:
    """Of nobody in particular, in the order of their names; links are links."""
    waiting = [(folder / part, part) for part in reversed(PARTS)]
    while waiting:
        path, name = waiting.pop()
        found = path.lstat()
        member = tarfile.TarInfo(name)
        member.mode, member.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
        if stat.S_ISDIR(found.st_mode):
            member.type = tarfile.DIRTYPE
            yield _head(member)
            inner = sorted(os.listdir(path), reverse=True)  # noqa: PTH208 - names are enough
            waiting += [(path / each, f"{name}/{each}") for each in inner]
        elif stat.S_ISLNK(found.st_mode):
            member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
            yield _head(member)
        elif stat.S_ISREG(found.st_mode):
            member.size = found.st_size
            yield _head(member)
            yield from _content(path, found.st_size)
    yield _END


def _head(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
    if left:
        raise OSError(f"{path.name} has become shorter")
    yield bytes(-size % _BLOCK)
