"""Change sets of sandboxes: made of what a keeper has found, and laid into the workspace of another."""

import hashlib
import json
import os
import tarfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any

from pathspec import GitIgnoreSpec

from signalbox_common.changesets import (
    LARGEST,
    LARGEST_FILE,
    LARGEST_SHOWN,
    MANIFEST,
    MOST_ENTRIES,
    VERSION,
    ChangeSet,
    ChangesRefused,
)
from signalbox_sandbox.keeper.upper import GIT, NO_FILE, SIZE

_PIECE = 1024 * 1024
_BLOCK = 512


class TooLarge(Exception):
    """With the largest paths."""

    def __init__(self, largest: Sequence[tuple[bytes, int]]) -> None:
        super().__init__("the changes are too large")
        self.largest = largest


class Incomplete(Exception):
    """The bytes ended before all were there."""


@dataclass(frozen=True)
class Change:
    path: bytes
    kind: str
    """`file`, `link` or `deleted`."""
    mode: str | None = None
    size: int = 0
    target: bytes = b""


@dataclass(frozen=True)
class Selection:
    """What is to be told, and what was left out."""

    changes: tuple[Change, ...]
    left: tuple[tuple[bytes, str], ...] = ()

    @property
    def files(self) -> list[bytes]:
        return [change.path for change in self.changes if change.kind == "file"]


class Ignores:
    """The rules of all `.gitignore` files: the nearest that says something counts, as git has it."""

    def __init__(self, rules: Mapping[bytes, bytes]) -> None:
        self._specs = {
            folder: GitIgnoreSpec.from_lines(text.decode("utf-8", "replace").splitlines())
            for folder, text in rules.items()
        }
        self._folders: dict[bytes, bool] = {b"": False}

    def covers(self, path: bytes) -> bool:
        """What lies in a folder that is ignored is ignored, whatever is said of it."""
        folder = path.rpartition(b"/")[0]
        return self._folder(folder) or self._said_of(path, folder)

    def _folder(self, folder: bytes) -> bool:
        known = self._folders.get(folder)
        if known is None:
            above = folder.rpartition(b"/")[0]
            known = self._folders[folder] = self._folder(above) or self._said_of(folder + b"/", above)
        return known

    def _said_of(self, path: bytes, folder: bytes) -> bool:
        while True:
            spec = self._specs.get(folder)
            if spec is not None:
                inner = path[len(folder) + 1 :] if folder else path
                said = spec.check_file(inner.decode("utf-8", "surrogateescape")).include
                if said is not None:
                    return said
            if not folder:
                return False
            folder = folder.rpartition(b"/")[0]


def select(entries: Sequence[Mapping[str, Any]]) -> Selection:
    """Of what a keeper has found: without what is ignored and was not there before."""
    rules = {b64decode(e["path"]): b64decode(e["text"]) for e in entries if e["kind"] == "ignores"}
    ignores = Ignores(rules)
    changes: dict[bytes, Change] = {}
    left = []
    for entry in entries:
        path, kind = b64decode(entry["path"]), entry["kind"]
        if kind == "left":
            if not ignores.covers(path):
                left.append((path, entry["why"]))
        elif kind == "deleted":
            changes.setdefault(path, Change(path, kind))
        elif kind in ("file", "link") and (entry["tracked"] or not ignores.covers(path)):
            target = b64decode(entry.get("target", ""))
            changes[path] = Change(path, kind, entry["mode"], entry["size"], target)
    _check_size(changes)
    return Selection(tuple(changes[path] for path in sorted(changes)), tuple(sorted(left)))


def _check_size(changes: Mapping[bytes, Change]) -> None:
    sizes = [(change.path, change.size) for change in changes.values()]
    if (
        len(sizes) > MOST_ENTRIES
        or sum(size for _, size in sizes) > LARGEST
        or any(size > LARGEST_FILE for _, size in sizes)
    ):
        raise TooLarge(sorted(sizes, key=lambda each: -each[1])[:LARGEST_SHOWN])


# -- bytes -----------------------------------------------------------------------------------------------


@dataclass
class Digests:
    """Of the files, as they were read."""

    sizes: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)


async def spool(chunks: AsyncIterator[bytes], count: int, into: IO[bytes]) -> Digests:
    """Bytes of so many files, each after its size, one after the other into a file."""
    found, reader = Digests(), _SizedReader(chunks)
    for _ in range(count):
        (left,) = SIZE.unpack(await reader.exactly(SIZE.size))
        if left == NO_FILE:
            raise Incomplete
        found.sizes.append(left)
        digest = hashlib.sha256()
        while left:
            piece = await reader.some(min(left, _PIECE))
            digest.update(piece)
            into.write(piece)
            left -= len(piece)
        found.sha256.append(digest.hexdigest())
    return found


class _SizedReader:
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def some(self, most: int) -> bytes:
        if not self._rest:
            self._rest = await anext(self._chunks, b"")
            if not self._rest:
                raise Incomplete
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    async def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self.some(size - len(data))
        return data


def packed(found: Selection, base: str | None, digests: Digests, spooled: IO[bytes]) -> Iterator[bytes]:
    """The tar, with the files from where they were spooled."""
    entries, contents = [], list[tuple[int, bytes | None]]()
    files = iter(zip(digests.sizes, digests.sha256, strict=True))
    for change in found.changes:
        entry: dict[str, Any] = {**_named(change.path), "kind": change.kind}
        if change.kind == "file":
            size, sha256 = next(files)
            entry |= {"mode": change.mode, "size": size, "sha256": sha256, "member": str(len(contents))}
            contents.append((size, None))
        elif change.kind == "link":
            sha256 = hashlib.sha256(change.target).hexdigest()
            entry |= {"mode": change.mode, "size": len(change.target), "sha256": sha256}
            entry["member"] = str(len(contents))
            contents.append((len(change.target), change.target))
        entries.append(entry)
    left = [{**_named(path), "why": why} for path, why in found.left]
    manifest = {"version": VERSION, "base": base, "entries": entries, "left": left}
    text = json.dumps(manifest, separators=(",", ":")).encode()
    yield from _member(MANIFEST, len(text), BytesIO(text))
    spooled.seek(0)
    for number, (size, content) in enumerate(contents):
        yield from _member(str(number), size, spooled if content is None else BytesIO(content))
    yield bytes(2 * _BLOCK)


def _member(name: str, size: int, content: IO[bytes]) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    yield header.tobuf(tarfile.USTAR_FORMAT)
    left = size
    while left:
        piece = content.read(min(left, _PIECE))
        yield piece
        left -= len(piece)
    if size % _BLOCK:
        yield bytes(_BLOCK - size % _BLOCK)


def _named(path: bytes) -> dict[str, str]:
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"pathBase64": b64encode(path).decode()}


# -- the other way ---------------------------------------------------------------------------------------


def arrived(file: IO[bytes]) -> ChangeSet:
    """Looked at as a whole; raises ChangesRefused where it could not have come from a sandbox."""
    changes = ChangeSet.read(file)
    for path, _ in changes.entries:
        if path.partition(b"/")[0].lower() == GIT:
            raise ChangesRefused("bad_path", "A path leads into the history.", (path,))
    changes.check_contents()
    return changes


def deleted(changes: ChangeSet) -> list[bytes]:
    return [path for path, entry in changes.entries if entry.kind == "deleted"]


def unpackable(changes: ChangeSet) -> Iterator[bytes]:
    """As a tar under the names that they have in a work tree."""
    for path, entry, content in changes.contents():
        header = tarfile.TarInfo(os.fsdecode(path))
        if entry.kind == "link":
            header.type, header.linkname = tarfile.SYMTYPE, os.fsdecode(b"".join(content))
            yield header.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
            continue
        header.size, header.mode = entry.size, int((entry.mode or "")[-3:], 8)
        yield header.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
        yield from content
        yield bytes(-entry.size % _BLOCK)
    yield bytes(2 * _BLOCK)
