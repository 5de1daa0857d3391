"""A change set as it comes out of a sandbox: a tar in which no path is a name, read once, trusted nowhere.

First `manifest.json`, then the members `0`, `1`, …: the same changes are the same bytes.
"""

import binascii
import hashlib
import json
import tarfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

VERSION = 1
MANIFEST = "manifest.json"
MOST_ENTRIES = 20_000
LARGEST_FILE = 100 * 1024 * 1024
LARGEST = 256 * 1024 * 1024
"""All contents together."""
LARGEST_MANIFEST = 32 * 1024 * 1024
LONGEST_PATH = 4096
LONGEST_NAME = 255
LONGEST_TARGET = 4095
SHOWN = 20
"""Paths that a refusal names."""
LARGEST_SHOWN = 10
"""Of what is too large, as many: the largest."""
_PIECE = 256 * 1024


class ChangesRefused(Exception):
    """With its code, and the paths that it is about."""

    def __init__(self, code: str, detail: str, paths: tuple[bytes, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.paths = paths[:SHOWN]


class ManifestEntry(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, strict=True, frozen=True)

    path: str | None = None
    path_base64: str | None = None
    kind: Literal["file", "link", "deleted"]
    mode: Literal["100644", "100755", "120000"] | None = None
    size: int = Field(default=0, ge=0)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    member: str | None = Field(default=None, pattern=r"^[0-9]{1,6}$")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.path is None) == (self.path_base64 is None):
            raise ValueError("an entry has one path")
        there = (self.mode, self.sha256, self.member)
        if self.kind == "deleted" and any(each is not None for each in there):
            raise ValueError("what is deleted has no content")
        if self.kind != "deleted" and any(each is None for each in there):
            raise ValueError("what is there has a mode, a digest and a member")
        if (self.kind == "link") != (self.mode == "120000"):
            raise ValueError("a link has the mode of one")
        return self

    @property
    def name(self) -> bytes:
        """Raises ValueError where that is no path."""
        if self.path is not None:
            return self.path.encode("utf-8")
        return b64decode(self.path_base64 or "", validate=True)


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True)

    version: int
    base: str | None
    entries: list[ManifestEntry]


@dataclass(frozen=True)
class ChangeSet:
    """Its entries by their paths, sorted; each path stands in a tree, whatever else it may be."""

    base: str | None
    entries: tuple[tuple[bytes, ManifestEntry], ...]
    _file: IO[bytes]

    @staticmethod
    def read(file: IO[bytes]) -> "ChangeSet":
        """From a file that can be read again; contents are looked at when they are read. Raises
        ChangesRefused."""
        manifest = _manifest_of(file)
        if manifest.version != VERSION:
            raise ChangesRefused("bad_changes", f"There is no version {manifest.version} of change sets.")
        if len(manifest.entries) > MOST_ENTRIES:
            raise ChangesRefused("changes_too_large", f"There are more than {MOST_ENTRIES} changes.")
        entries = tuple((_path_of(entry), entry) for entry in manifest.entries)
        _check_sizes(entries)
        _check_places(entries)
        return ChangeSet(manifest.base, entries, file)

    def contents(self) -> Iterator[tuple[bytes, ManifestEntry, Iterator[bytes]]]:
        """Of each that is there, in the order of the tar; raises ChangesRefused where a digest differs."""
        wanted = {entry.member: (path, entry) for path, entry in self.entries if entry.member is not None}
        if len(wanted) != sum(entry.member is not None for _, entry in self.entries):
            raise ChangesRefused("bad_changes", "Two changes have one member.")
        self._file.seek(0)
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                for member in archive:
                    if (found := wanted.pop(member.name, None)) is None:
                        continue
                    path, entry = found
                    if not member.isreg() or member.size != entry.size:
                        raise ChangesRefused(
                            "bad_changes", "A member is not what the manifest says.", (path,)
                        )
                    yield path, entry, _checked(archive, member, path, entry)
        except tarfile.TarError as error:
            raise ChangesRefused("bad_changes", "The change set ends too early.") from error
        if wanted:
            missing = tuple(path for path, _ in wanted.values())
            raise ChangesRefused("bad_changes", "Not all members are there.", missing)

    def check_contents(self) -> None:
        """Reads them all, for whoever must know before anything is done; raises ChangesRefused."""
        for _, _, content in self.contents():
            for _ in content:
                pass


def _manifest_of(file: IO[bytes]) -> _Manifest:
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isreg():
                raise ChangesRefused("bad_changes", "A change set begins with its manifest.")
            if first.size > LARGEST_MANIFEST:
                raise ChangesRefused("changes_too_large", "The manifest is too large.")
            content = archive.extractfile(first)
            raw = content.read() if content is not None else b""
        return _Manifest.model_validate(json.loads(raw.decode("utf-8")))
    except (tarfile.TarError, ValidationError, ValueError, RecursionError) as error:
        raise ChangesRefused("bad_changes", "That is no change set.") from error


def _checked(
    archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes, entry: ManifestEntry
) -> Iterator[bytes]:
    content = archive.extractfile(member)
    digest, left = hashlib.sha256(), entry.size
    while left and content is not None:
        try:
            piece = content.read(min(left, _PIECE))
        except tarfile.TarError:
            break
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
        yield piece
    if left or digest.hexdigest() != entry.sha256:
        raise ChangesRefused("bad_changes", "Content is not what the manifest says.", (path,))


def _path_of(entry: ManifestEntry) -> bytes:
    try:
        path = entry.name
    except (ValueError, binascii.Error) as error:
        raise ChangesRefused("bad_path", "A path is no path.") from error
    if why := what_is_wrong(path):
        raise ChangesRefused("bad_path", f"A path {why}.", (path,))
    return path


def what_is_wrong(path: bytes) -> str:
    """Nothing where it leads to a place in a tree."""
    if not path or len(path) > LONGEST_PATH:
        return "has no bytes, or too many"
    if b"\0" in path:
        return "has a NUL"
    return next(filter(None, map(_wrong_part, path.split(b"/"))), "")


def _wrong_part(part: bytes) -> str:
    if not part:
        return "is absolute, or has an empty part"
    if part in (b".", b".."):
        return "leads up, or nowhere"
    return "has a part that is too long" if len(part) > LONGEST_NAME else ""


def _check_sizes(entries: tuple[tuple[bytes, ManifestEntry], ...]) -> None:
    total = sum(entry.size for _, entry in entries)
    large = sorted(entries, key=lambda each: -each[1].size)[:LARGEST_SHOWN]
    if total > LARGEST or (large and large[0][1].size > LARGEST_FILE):
        paths = tuple(path for path, _ in large)
        raise ChangesRefused("changes_too_large", "The changes are too large.", paths)
    for path, entry in entries:
        if entry.kind == "link" and not 1 <= entry.size <= LONGEST_TARGET:
            raise ChangesRefused("bad_path", "A link leads nowhere, or too far.", (path,))


def _check_places(entries: tuple[tuple[bytes, ManifestEntry], ...]) -> None:
    """Each once, in their order, and nothing in what is no folder."""
    for (before, _), (after, _) in pairwise(entries):
        if before >= after:
            raise ChangesRefused("bad_changes", "Paths stand once, in their order.", (after,))
    there = {path for path, entry in entries if entry.kind != "deleted"}
    for path in there:
        folder = path
        while b"/" in folder:
            folder = folder.rpartition(b"/")[0]
            if folder in there:
                raise ChangesRefused("bad_changes", "Something lies in what is no folder.", (path,))
