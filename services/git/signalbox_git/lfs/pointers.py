"""Pointers: small files that stand for what LFS keeps, where the attributes of a path say so."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from signalbox_git.command import GitDirectory

_LARGEST = 1023
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,17})\n"
)
_FILE_MODES = (b"100644", b"100755")
_AT_ONCE = 20_000
"""Blobs that one command is asked for: what it answers stays within what is taken."""


@dataclass(frozen=True)
class Pointer:
    path: bytes
    blob: bytes
    """What the pointer itself says."""
    oid: str
    size: int


@dataclass(frozen=True)
class Listed:
    """What is in a commit."""

    size: int
    """Of all files together, as git keeps them."""
    pointers: tuple[Pointer, ...]


async def listed(git: GitDirectory) -> Listed:
    """Of HEAD, whose attributes are looked up in the index: nothing of the work tree counts."""
    total, small = 0, {}
    said = await git.run("ls-tree", "-r", "-z", "-l", "--full-tree", "HEAD", within=60.0)
    for line in filter(None, said.split(b"\0")):
        head, _, path = line.partition(b"\t")
        mode, _, name, size = head.split()
        if mode in _FILE_MODES and size.isdigit():
            total += int(size)
            if int(size) <= _LARGEST:
                small[path] = name
    paths = await _with_filter(git, list(small))
    found = []
    for start in range(0, len(paths), _AT_ONCE):
        some = paths[start : start + _AT_ONCE]
        async for path, blob in _blobs(git, some, [small[path] for path in some]):
            if match := _POINTER.fullmatch(blob):
                found.append(Pointer(path, blob, match[1].decode("ascii"), int(match[2])))
    return Listed(total, tuple(found))


async def _with_filter(git: GitDirectory, paths: Sequence[bytes]) -> list[bytes]:
    """Those that LFS is said to keep."""
    if not paths:
        return []
    asked = b"".join(path + b"\0" for path in paths)
    said = (await git.run("check-attr", "--cached", "-z", "--stdin", "filter", given=asked)).split(b"\0")
    return [path for path, value in zip(said[::3], said[2::3], strict=False) if value == b"lfs"]


async def _blobs(
    git: GitDirectory, paths: Sequence[bytes], names: Sequence[bytes]
) -> AsyncIterator[tuple[bytes, bytes]]:
    said = await git.run("cat-file", "--batch", given=b"".join(name + b"\n" for name in names))
    at = 0
    for path in paths:
        end = said.index(b"\n", at)
        size = int(said[at:end].split()[2])
        yield path, said[end + 1 : end + 1 + size]
        at = end + size + 2
