"""The commits of a bundle, taken into a quarantine as hostile: indexed, counted, and each looked through."""

import asyncio
import re
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from signalbox_common import changesets
from signalbox_common.changesets import ChangesRefused
from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.commits import bundles
from signalbox_git.commits.bundles import BundleHead
from signalbox_git.commits.changes import is_of_git
from signalbox_git.commits.combining import is_ancestor

MOST_COMMITS = 200
LARGEST_COMMIT = 64 * 1024
LONGEST_PERSON = 600
INDEXED_WITHIN = 120.0
LOOKED_WITHIN = 60.0
_MIB = 1024 * 1024
_LARGEST_ANSWER = 64 * _MIB
_PIECE = 256 * 1024
_BOUNDS = {"GIT_ALLOC_LIMIT": "128m"}
"""What one object may become: a small pack may hold what is very large."""
_MEMORY = {resource.RLIMIT_DATA: 768 * _MIB}
_MEMORY_OF_LOOKING = {resource.RLIMIT_DATA: 384 * _MIB}
"""git keeps all differences until it has seen them: a few trees may stand for more than anybody has."""
_INDEXING = (("core.bigFileThreshold", "1g"), ("core.deltaBaseCacheLimit", "32m"))
"""Below the threshold git asks for what a file would take, and is stopped; above, it would unpack it all."""
_SUBMODULE, _LINK, _NOTHING = "160000", "120000", "000000"
_FILES = frozenset({"100644", "100755"})
_PERSON = re.compile(rb"(.*?) ?<([^<>]*)> ([0-9]{1,12} [+-][0-9]{4})")


@dataclass(frozen=True)
class BundledEntry:
    """What one commit has made of one path."""

    kind: str
    size: int
    blob: str | None


@dataclass(frozen=True)
class BundledChanges:
    """What one commit has changed against its first parent, without what an earlier one had as well."""

    entries: tuple[tuple[bytes, BundledEntry], ...]
    _spool: Path
    _places: dict[str, int]

    def contents(self) -> Iterator[tuple[bytes, BundledEntry, Iterator[bytes]]]:
        with self._spool.open("rb") as file:
            for path, entry in self.entries:
                if entry.blob is not None:
                    file.seek(self._places[entry.blob])
                    yield path, entry, _pieces(file, entry.size)


@dataclass(frozen=True)
class SeriesCommit:
    id: str
    parents: tuple[str, ...]
    author: tuple[str, str, str]
    """Name, address and moment, as git has them."""
    message: str


@dataclass(frozen=True)
class Series:
    """From the oldest to the newest."""

    tip: str
    commits: tuple[SeriesCommit, ...]
    changes: tuple[BundledChanges, ...]


async def take(git: GitDirectory, bundle: Path, base: str) -> Series:
    """Into a quarantine; raises ChangesRefused. Nothing of it is anywhere else yet."""
    head = await asyncio.to_thread(_head_of, bundle)
    try:
        await _check_begin(git, head)
        await _index(git, bundle, head)
        commits = await _commits_of(git, head.tip, base)
        changed = await _changed(git, commits)
        sizes = await _sizes(git, changed)
        spool = git.folder / "spool"
        places = await _spooled(git, spool, sizes)
    except TookTooLong as error:
        raise ChangesRefused("changes_too_large", "Looking at the bundle takes too long.") from error
    except AnsweredTooMuch as error:
        raise ChangesRefused("changes_too_large", "The commits change too many files.") from error
    return Series(head.tip, commits, tuple(_without_seen(changed, sizes, spool, places)))


async def beginnings(bundle: Path) -> tuple[str, ...]:
    """What it says that whoever takes it has already; raises ChangesRefused."""
    return (await asyncio.to_thread(_head_of, bundle)).prerequisites


async def commits_between(git: GitDirectory, tip: str, base: str) -> tuple[SeriesCommit, ...]:
    """The oldest first; raises ChangesRefused where there are too many, or one that says too much."""
    arguments = ("rev-list", "--topo-order", f"--max-count={MOST_COMMITS + 1}", tip, f"^{base}", "--")
    names = (await git.run(*arguments, env=_BOUNDS, within=LOOKED_WITHIN)).decode("ascii").split()
    if len(names) > MOST_COMMITS:
        raise ChangesRefused("too_many_commits", f"There are more than {MOST_COMMITS} commits.")
    for name, kind, size in await _looked_up(git, names):
        if kind != "commit" or size > LARGEST_COMMIT:
            raise _refused(f"The commit {name[:10]} says too much.")
    asked = "".join(f"{name}\n" for name in names).encode("ascii")
    said = await git.run("cat-file", "--batch", given=asked, most=_LARGEST_ANSWER, within=LOOKED_WITHIN)
    return tuple(reversed(list(_read_commits(said))))


def _refused(detail: str) -> ChangesRefused:
    return ChangesRefused("bad_bundle", detail)


def _head_of(bundle: Path) -> BundleHead:
    with bundle.open("rb") as file:
        return bundles.read_head(file)


async def _check_begin(git: GitDirectory, head: BundleHead) -> None:
    for _, kind, _ in await _looked_up(git, head.prerequisites):
        if kind != "commit":
            raise _refused("The bundle begins at a commit that the repository does not have.")


async def _index(git: GitDirectory, bundle: Path, head: BundleHead) -> None:
    """All objects are checked as they are unpacked, and all that they refer to has to be there."""
    arguments = ("index-pack", "--stdin", "--strict=badFilemode=error", "--fix-thin", "--threads=1")
    try:
        await git.run(
            *arguments,
            f"--max-input-size={bundles.LARGEST}",
            given=_from(bundle, head.pack_at),
            env=_BOUNDS,
            config=_INDEXING,
            limits=_MEMORY | {resource.RLIMIT_FSIZE: 2 * bundles.LARGEST},
            within=INDEXED_WITHIN,
        )
    except GitFailed as error:
        words = error.complaint.splitlines()
        raise _refused(f"git does not take its objects: {words[-1][:200] if words else 'broken'}") from error


async def _from(bundle: Path, offset: int) -> AsyncIterator[bytes]:
    with bundle.open("rb") as file:
        file.seek(offset)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def _commits_of(git: GitDirectory, tip: str, base: str) -> tuple[SeriesCommit, ...]:
    [(_, kind, _)] = await _looked_up(git, [tip])
    if kind != "commit":
        raise _refused("The bundle leads to no commit.")
    if not await is_ancestor(git, base, tip):
        raise _refused("The commits do not go on from where the sandbox began.")
    return await commits_between(git, tip, base)


def _read_commits(said: bytes) -> Iterator[SeriesCommit]:
    at = 0
    while at < len(said):
        head, _, _ = said[at : at + 200].partition(b"\n")
        name, _, size = head.decode("ascii").split()
        begin = at + len(head) + 1
        yield _read_commit(name, said[begin : begin + int(size)])
        at = begin + int(size) + 1


def _read_commit(name: str, content: bytes) -> SeriesCommit:
    head, _, message = content.partition(b"\n\n")
    parents: list[str] = []
    people: dict[bytes, re.Match[bytes]] = {}
    encoding = "utf-8"
    for line in head.split(b"\n"):
        word, _, value = line.partition(b" ")
        if word == b"parent":
            parents.append(value.decode("ascii", "replace"))
        elif word in (b"author", b"committer"):
            found = _PERSON.fullmatch(value) if len(value) <= LONGEST_PERSON else None
            if found is None:
                raise _refused(f"The commit {name[:10]} is of nobody.")
            people.setdefault(word, found)
        elif word == b"encoding":
            encoding = value.decode("ascii", "replace")
    if len(people) != len((b"author", b"committer")):
        raise _refused(f"The commit {name[:10]} is of nobody.")
    author = people[b"author"]
    words = [_text(each, encoding) for each in (author[1], author[2], author[3])]
    return SeriesCommit(name, tuple(parents), (words[0], words[1], words[2]), _text(message, encoding))


def _text(content: bytes, encoding: str) -> str:
    with suppress(LookupError, UnicodeError, ValueError):
        return content.decode(encoding)
    return content.decode("utf-8", "replace")


async def _looked_up(git: GitDirectory, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Of each: its name, what it is, and its size."""
    if not names:
        return []
    asked = "".join(f"{name}\n" for name in names).encode("ascii")
    form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
    said = await git.run("cat-file", form, given=asked, most=_LARGEST_ANSWER, within=LOOKED_WITHIN)
    found = []
    for line in said.decode("ascii", "replace").splitlines():
        name, kind, *size = line.split()
        found.append((name, kind, int(size[0]) if size else 0))
    return found


# -- what they have changed --------------------------------------------------------------------------------

_Changed = list[list[tuple[bytes, str, str]]]
"""Of each commit the paths, with mode and name of what is there now."""


async def _changed(git: GitDirectory, commits: Sequence[SeriesCommit]) -> _Changed:
    """Against the first parent each: what a merge brings was in its other parents, or is seen here."""
    if not commits:
        return []
    asked = "".join(f"{' '.join((each.id, *each.parents[:1]))}\n" for each in commits).encode("ascii")
    said = await _differences(git, asked)
    found: dict[str, list[tuple[bytes, str, str]]] = {each.id: [] for each in commits}
    words = iter(said.split(b"\0"))
    current = found[commits[0].id]
    count = 0
    for word in words:
        if not word.startswith(b":"):
            current = found.get(word.decode("ascii", "replace").strip(), current)
            continue
        before, mode, _, name, _ = word[1:].decode("ascii").split(" ")
        path = next(words)
        _check_path(path, before, mode)
        current.append((path, mode, name))
        count += 1
    if count > changesets.MOST_ENTRIES:
        raise ChangesRefused("changes_too_large", f"There are more than {changesets.MOST_ENTRIES} changes.")
    return [found[each.id] for each in commits]


async def _differences(git: GitDirectory, asked: bytes) -> bytes:
    return await git.run(
        *("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--root"),
        given=asked,
        env=_BOUNDS,
        limits=_MEMORY_OF_LOOKING,
        most=_LARGEST_ANSWER,
        within=LOOKED_WITHIN,
    )


def _check_path(path: bytes, before: str, mode: str) -> None:
    shown = path.decode("utf-8", "replace")[:200]
    if why := changesets.what_is_wrong(path):
        raise ChangesRefused("bad_path", f"A path {why}: {shown}", (path,))
    if is_of_git(path):
        raise ChangesRefused("bad_path", f"A path leads into a repository's own folder: {shown}", (path,))
    if _SUBMODULE in (before, mode):
        raise ChangesRefused("submodule", f"Submodules are not changed: {shown}", (path,))
    if mode not in _FILES | {_LINK, _NOTHING}:
        raise ChangesRefused("bad_path", f"A path has a mode that is none: {shown}", (path,))


async def _sizes(git: GitDirectory, changed: _Changed) -> dict[str, int]:
    """Of all that is there, by name; raises ChangesRefused where that is too much."""
    modes = {name: mode for each in changed for _, mode, name in each if mode != _NOTHING}
    sizes = {}
    for name, kind, size in await _looked_up(git, list(modes)):
        if kind != "blob":
            raise _refused("A file of a commit is none.")
        if size > changesets.LARGEST_FILE:
            raise ChangesRefused("changes_too_large", "A file is too large.")
        sizes[name] = size
    if sum(sizes.values()) > changesets.LARGEST:
        raise ChangesRefused("changes_too_large", "The changes are too large.")
    for each in changed:
        for path, mode, name in each:
            if mode == _LINK and not 1 <= sizes[name] <= changesets.LONGEST_TARGET:
                raise ChangesRefused("bad_path", "A link leads nowhere, or too far.", (path,))
    return sizes


async def _spooled(git: GitDirectory, spool: Path, sizes: dict[str, int]) -> dict[str, int]:
    """All contents one after the other in one file, and where each begins."""
    with spool.open("xb") as file:
        if sizes:
            asked = "".join(f"{name}\n" for name in sizes).encode("ascii")
            await git.run("cat-file", "--batch=%(objectname)", given=asked, into=file, within=INDEXED_WITHIN)
    places, at = {}, 0
    for name, size in sizes.items():
        places[name] = at + len(name) + 1
        at = places[name] + size + 1
    return places


def _without_seen(
    changed: _Changed, sizes: dict[str, int], spool: Path, places: dict[str, int]
) -> Iterator[BundledChanges]:
    seen: set[tuple[bytes, str]] = set()
    for each in changed:
        entries = []
        for path, mode, name in each:
            if mode == _NOTHING:
                entries.append((path, BundledEntry("deleted", 0, None)))
            elif (path, name) not in seen:
                seen.add((path, name))
                kind = "link" if mode == _LINK else "file"
                entries.append((path, BundledEntry(kind, sizes[name], name)))
        yield BundledChanges(tuple(entries), spool, places)


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        size -= len(piece)
        yield piece
