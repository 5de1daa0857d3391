"""Objects that are made beside a mirror: all of them go into it, or none."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

from signalbox_common.changesets import ChangeSet, ChangesRefused
from signalbox_git.command import GitDirectory
from signalbox_git.mirrors.mirror import QUARANTINE

_DELETED = "0" * 40
_SUBMODULE = b"160000 "
_FORBIDDEN_IN_NAMES = str.maketrans(dict.fromkeys("<>\n\r\0", " "))


@dataclass(frozen=True)
class Person:
    name: str
    email: str


@dataclass(frozen=True)
class Authorship:
    """All that a commit says beside its tree: kept with the delivery, so that it is the same each time."""

    author: Person
    committer: Person
    moment: datetime
    message: str
    written_at: str | None = None
    """As git has it, where its author wrote it at another moment."""

    def environment(self) -> Mapping[str, str]:
        moment = f"{int(self.moment.timestamp())} +0000"
        return {
            "GIT_AUTHOR_NAME": _plain(self.author.name),
            "GIT_AUTHOR_EMAIL": _plain(self.author.email),
            "GIT_AUTHOR_DATE": self.written_at or moment,
            "GIT_COMMITTER_NAME": _plain(self.committer.name),
            "GIT_COMMITTER_EMAIL": _plain(self.committer.email),
            "GIT_COMMITTER_DATE": moment,
        }


def _plain(text: str) -> str:
    return text.translate(_FORBIDDEN_IN_NAMES).strip(" .,:;'\"") or "unknown"


class Quarantine:
    """A repository of its own that sees all objects of the mirror, and writes none there until `accept`."""

    def __init__(self, mirror: Path, folder: Path) -> None:
        self._mirror = mirror
        self._folder = folder
        self._git = GitDirectory(folder, {"GIT_INDEX_FILE": str(folder / "index")})

    @property
    def git(self) -> GitDirectory:
        """For what is made without a change set; with all that the mirror has."""
        return self._git

    @staticmethod
    @asynccontextmanager
    async def beside(mirror: Path, folder: Path) -> AsyncIterator["Quarantine"]:
        """Removed in the end, whatever came of it."""
        place = Path(await asyncio.to_thread(mkdtemp, prefix=QUARANTINE, dir=folder))
        try:
            _prepare(place, mirror)
            yield Quarantine(mirror, place)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def commit(self, base: str, changes: ChangeSet, authorship: Authorship) -> str | None:
        """Its id, the same however often it is made; None where the tree stays as it is.

        Raises ChangesRefused.
        """
        tree = await self.tree(base, changes)
        if tree == await self._git.line("rev-parse", "--verify", f"{base}^{{tree}}"):
            return None
        message = authorship.message.replace("\0", "").encode("utf-8", "replace")
        made = await self._git.run(
            "commit-tree", tree, "-p", base, "-F", "-", given=message, env=authorship.environment()
        )
        return made.decode("ascii").strip()

    async def tree(self, base: str, changes: ChangeSet) -> str:
        """That of a commit with the changes; raises ChangesRefused."""
        blobs = await self._blobs(changes)
        await self._git.run("read-tree", base)
        await self._check_submodules(changes)
        await self._git.run("update-index", "-z", "--index-info", given=_index_lines(changes, blobs))
        await self._check_index(changes, blobs)
        return await self._git.line("write-tree")

    async def _check_submodules(self, changes: ChangeSet) -> None:
        """What lies in one is not this repository's; git would drop the submodule for it, and say nothing."""
        listed = (await self._git.run("ls-files", "--stage", "-z")).split(b"\0")
        kept = {line.partition(b"\t")[2] for line in listed if line.startswith(_SUBMODULE)}
        if not kept:
            return
        kept -= {path for path, _ in changes.entries}
        inside = tuple(path for path, _ in changes.entries if any(each in kept for each in _parents(path)))
        if inside:
            raise ChangesRefused("bad_path", "These paths are in a submodule.", inside)

    async def _check_index(self, changes: ChangeSet, blobs: Mapping[bytes, str]) -> None:
        """git leaves out what it does not take, and says nothing of it."""
        listed = (await self._git.run("ls-files", "--stage", "-z")).split(b"\0")
        there = {path: head for head, _, path in (line.partition(b"\t") for line in listed if line)}
        wanted = {
            path: f"{entry.mode} {blobs[path]} 0".encode() if entry.kind != "deleted" else None
            for path, entry in changes.entries
        }
        refused = tuple(path for path, head in wanted.items() if there.get(path) != head)
        if refused:
            raise ChangesRefused("bad_path", "git does not take these paths.", refused)

    async def accept(self, commit: str, base: str) -> None:
        """Into the mirror, as one pack; doing it again adds nothing that counts."""
        wanted = f"{commit}\n^{base}\n".encode("ascii")
        target = str(self._mirror / "objects" / "pack" / "pack")
        await self._git.run("pack-objects", "--revs", "--quiet", target, given=wanted)

    async def _blobs(self, changes: ChangeSet) -> dict[bytes, str]:
        """As they are: nothing of a repository filters them."""
        marks = self._folder / "marks"
        paths: list[bytes] = []

        async def stream() -> AsyncIterator[bytes]:
            for path, entry, content in changes.contents():
                paths.append(path)
                yield b"blob\nmark :%d\ndata %d\n" % (len(paths), entry.size)
                for piece in content:
                    yield piece
                yield b"\n"
            yield b"done\n"

        await self._git.run("fast-import", "--quiet", "--done", f"--export-marks={marks}", given=stream())
        found = dict(_marks(await asyncio.to_thread(marks.read_bytes)))
        return {path: found[number] for number, path in enumerate(paths, 1)}


def _prepare(place: Path, mirror: Path) -> None:
    GitDirectory.make(place)
    (place / "objects/info/alternates").write_bytes(bytes(mirror.resolve() / "objects") + b"\n")


def _parents(path: bytes) -> Iterator[bytes]:
    parts = path.split(b"/")
    return (b"/".join(parts[:length]) for length in range(1, len(parts)))


def _marks(content: bytes) -> Iterator[tuple[int, str]]:
    for line in content.splitlines():
        mark, _, name = line.partition(b" ")
        yield int(mark.removeprefix(b":")), name.decode("ascii")


def _index_lines(changes: ChangeSet, blobs: Mapping[bytes, str]) -> bytes:
    """What goes, then what comes: a file may take the place of a folder."""
    gone = [
        b"0 %b\t%b\0" % (_DELETED.encode(), path) for path, each in changes.entries if each.kind == "deleted"
    ]
    come = [
        b"%b %b\t%b\0" % ((each.mode or "").encode(), blobs[path].encode(), path)
        for path, each in changes.entries
        if each.kind != "deleted"
    ]
    return b"".join(gone + come)
