"""The head of a bundle, read before git sees any of it: what it begins at, and where it leads."""

import re
from dataclasses import dataclass
from typing import IO

from pydantic import TypeAdapter, ValidationError

from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts.git import RefName
from signalbox_git.domain import HEADS

LARGEST = 256 * 1024 * 1024
LARGEST_HEAD = 64 * 1024
MOST_REFS = 16
MOST_PREREQUISITES = 256
MOST_OBJECTS = 100_000
_LONGEST_LINE = 16 * 1024
_SIGNATURES = {b"# v2 git bundle\n": 2, b"# v3 git bundle\n": 3}
_PREREQUISITE = re.compile(rb"-([0-9a-f]{40})(?: .*)?")
_REF = re.compile(rb"([0-9a-f]{40}) (.+)")
_OBJECT_FORMAT = b"object-format=sha1"
_PACK = re.compile(rb"PACK\0\0\0[\x02\x03](.{4})", re.DOTALL)
_PACK_HEAD = 12
_BRANCH: TypeAdapter[str] = TypeAdapter(RefName)


@dataclass(frozen=True)
class BundleHead:
    tip: str
    prerequisites: tuple[str, ...]
    pack_at: int
    """Where in the file its pack begins."""
    objects: int


def read_head(file: IO[bytes]) -> BundleHead:
    """Raises ChangesRefused."""
    file.seek(0)
    version = _SIGNATURES.get(file.readline(_LONGEST_LINE))
    if version is None:
        raise _refused("That is no bundle.")
    tips: set[str] = set()
    prerequisites: list[str] = []
    refs = 0
    while (line := _line(file)) != b"":
        if line.startswith(b"@"):
            _check_capability(line[1:], version)
        elif found := _PREREQUISITE.fullmatch(line):
            prerequisites.append(found[1].decode("ascii"))
        elif found := _REF.fullmatch(line):
            _check_ref(found[2])
            tips.add(found[1].decode("ascii"))
            refs += 1
        else:
            raise _refused("The head of the bundle has a line that says nothing.")
        if refs > MOST_REFS or len(prerequisites) > MOST_PREREQUISITES:
            raise _refused("The bundle has too many branches, or begins at too many commits.")
    if len(tips) != 1:
        raise _refused("A bundle that is delivered leads to one commit.")
    pack_at = file.tell()
    return BundleHead(tips.pop(), tuple(prerequisites), pack_at, _objects(file))


def _refused(detail: str) -> ChangesRefused:
    return ChangesRefused("bad_bundle", detail)


def _line(file: IO[bytes]) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n") or file.tell() > LARGEST_HEAD:
        raise _refused("The head of the bundle has no end.")
    return line[:-1]


def _check_capability(capability: bytes, version: int) -> None:
    """A filter stands for objects that are left out."""
    if version != 3 or capability != _OBJECT_FORMAT:
        name = capability[:40].decode("utf-8", "replace")
        raise _refused(f"The bundle asks for something that is not done here: {name}.")


def _check_ref(name: bytes) -> None:
    """Nothing is ever called so; a bundle that git has made says nothing else."""
    if name == b"HEAD":
        return
    branch = name.removeprefix(HEADS.encode())
    try:
        if branch == name:
            raise _refused("The bundle has something else than a branch.")
        _BRANCH.validate_python(branch.decode("utf-8"))
    except (UnicodeDecodeError, ValidationError) as error:
        raise _refused("The bundle has a branch whose name is none.") from error


def _objects(file: IO[bytes]) -> int:
    found = _PACK.fullmatch(file.read(_PACK_HEAD))
    if found is None:
        raise _refused("The bundle has no pack.")
    objects = int.from_bytes(found[1], "big")
    if objects > MOST_OBJECTS:
        raise ChangesRefused("changes_too_large", "The bundle has too many objects.")
    return objects
