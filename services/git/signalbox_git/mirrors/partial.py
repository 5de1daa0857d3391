"""What is needed of a partial mirror: the files of commits, of differences and of merges, by git's names.

A partial mirror has every commit and every folder, and of files those that were needed. git is kept from
fetching others by itself: they are listed here, and brought before somebody needs them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import islice, pairwise

from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.reading import EMPTY_TREE
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.remote import NOT_OURS, Remote

Listing = Callable[[GitDirectory], Awaitable[set[str]]]
"""Names what is needed, in a mirror; what is there already may be among it."""
Complete = Callable[[Listing], Awaitable[None]]
"""Brings what is needed, and is not there."""
_WITHIN, _LISTED_WITHIN = 300.0, 600.0
"""Seconds for one command, and for all that it takes to list something."""
_LOOKED_WITHIN = 20.0
"""Seconds for the history of one path, which somebody waits for."""
_AHEAD = 16
_MOST_AHEAD = 100_000
"""Commits that are asked for together: of each step back there may be several."""
_MOST_BASES, _MOST_MERGES = 8, 64
_NO = 1
_MOST_TRIED = 3
TOO_LARGE = "too_large"
_SUBMODULE, _NOTHING = "160000", "0" * 40


async def missing(git: GitDirectory, listing: Listing) -> list[str]:
    """In an order that is the same for all; raises TookTooLong and AnsweredTooMuch."""
    try:
        async with asyncio.timeout(_LISTED_WITHIN):  # a history may be made so that there is no end of it
            names = sorted(await listing(git))
    except TimeoutError as error:
        raise TookTooLong("listing") from error
    if not names:
        return []
    said = await git.run("cat-file", "--batch-check=%(objectname)", given=_lines(names), within=_WITHIN)
    lines = said.decode("ascii", "replace").splitlines()
    return [line.partition(" ")[0] for line in lines if line.endswith(" missing")]


async def missing_in(mirror: Mirror, needed: Listing) -> list[str]:
    """Raises RemoteRefused where it cannot be told."""
    try:
        return await missing(mirror.git, needed)
    except (AnsweredTooMuch, TookTooLong) as error:
        raise RemoteRefused(TOO_LARGE, "It takes too much to find out which files are needed.") from error


async def can_be_completed(there: Remote, mirror: Mirror, repository: GitDirectory, *, within: float) -> bool:
    """There are remotes that leave files out, and do not give one away that is asked for."""
    for commit in islice((await mirror.refs()).values(), _MOST_TRIED):
        if some := await missing_in(mirror, files_of(commit)):
            try:
                await there.fetch_files(repository, some[:1], within=within)
            except RemoteRefused as refusal:
                if refusal.reason == NOT_OURS:
                    return False
                raise
            return True
    return True


def files_of(*commits: str, depth: int = 1) -> Listing:
    """All that a checkout of that depth has; commits that are not there have none."""

    async def listed(git: GitDirectory) -> set[str]:
        within = await _within(git, await _there(git, commits), depth)
        if not within:
            return set()
        options = ("--objects", "--no-walk", "--quiet", "--missing=print", "--stdin")
        said = await git.run("rev-list", *options, given=_lines(within), within=_WITHIN)
        return _absent(said)

    return listed


def file_at(commit: str, path: str) -> Listing:
    async def listed(git: GitDirectory) -> set[str]:
        said = await git.run("ls-tree", "-z", "--full-tree", commit, "--", path, within=_LOOKED_WITHIN)
        entries = (line.partition(b"\t")[0].split() for line in said.split(b"\0") if line)
        return {name.decode("ascii") for _, kind, name in entries if kind == b"blob"}

    return listed


def files_between(one: str, other: str, path: str | None = None) -> Listing:
    """Those of both that differ."""

    async def listed(git: GitDirectory) -> set[str]:
        return await _between(git, one, other, path)

    return listed


def files_changed_by(commit: str, path: str | None = None) -> Listing:
    """Against its first parent."""

    async def listed(git: GitDirectory) -> set[str]:
        _, *parents = (await git.line("rev-list", "--parents", "--no-walk", commit)).split()
        return await _between(git, parents[0] if parents else EMPTY_TREE, commit, path)

    return listed


def files_beyond_remote(commit: str) -> Listing:
    """What a push of that commit takes along, as far as it is known what the remote has."""

    async def listed(git: GitDirectory) -> set[str]:
        options = ("--objects", "--quiet", "--missing=print", commit, "--not", "--branches", "--tags")
        return _absent(await git.run("rev-list", *options, within=_WITHIN))

    return listed


def files_of_change(before: str, after: str, onto: str) -> Listing:
    """For the same change to something else."""

    async def listed(git: GitDirectory) -> set[str]:
        return await _between(git, before, after) | await _between(git, before, onto)

    return listed


def files_of_merge(ours: str, theirs: str) -> Listing:
    async def listed(git: GitDirectory) -> set[str]:
        found: set[str] = set()
        waiting, seen = [(ours, theirs)], set[tuple[str, str]]()
        while waiting and len(seen) < _MOST_MERGES:
            pair = waiting.pop()
            if pair in seen:
                continue
            seen.add(pair)
            bases = await _bases(git, *pair)
            for base in bases:
                for side in pair:
                    found |= await _between(git, base, side)
            waiting += pairwise(bases)  # git puts several together first
        return found

    return listed


def history_of(commit: str, path: str) -> Listing:
    """That file, as it was at any time: under another name it is another one."""

    async def listed(git: GitDirectory) -> set[str]:
        options = ("--raw", "-m", "--full-history", "--no-renames", "--no-abbrev", "--format=")
        said = await git.run("log", *options, commit, "--", path, within=_LOOKED_WITHIN)
        lines = said.decode("utf-8", "replace").split("\n")
        return _names(line.partition("\t")[0] for line in lines)

    return listed


# -- words of git ------------------------------------------------------------------------------------------


async def _within(git: GitDirectory, tips: set[str], depth: int) -> set[str]:
    """As git counts: a commit is as deep as the shortest way to it is long."""
    parents: dict[str, list[str]] = {}
    found, level = {*tips}, tips
    for step in range(1, depth):
        if unknown := level - parents.keys():
            parents |= await _parents(git, unknown, min(_AHEAD * (depth - step), _MOST_AHEAD))
        level = {parent for each in level for parent in parents[each]} - found
        if not level:
            break
        found |= level
    return found


async def _parents(git: GitDirectory, commits: Collection[str], ahead: int) -> dict[str, list[str]]:
    """Of these, and of those before them which will be asked about next."""
    found = {}
    for options in ((f"--max-count={ahead}",), ("--no-walk",)):
        said = await git.run(
            "rev-list", "--parents", *options, "--stdin", given=_lines(commits), within=_WITHIN
        )
        for line in said.decode("ascii").splitlines():
            commit, *its = line.split()
            found[commit] = its
    return found


async def _there(git: GitDirectory, commits: Collection[str]) -> set[str]:
    said = await git.run("cat-file", "--batch-check=%(objectname) %(objecttype)", given=_lines(commits))
    pairs = (line.split() for line in said.decode("ascii", "replace").splitlines())
    return {name for name, kind in pairs if kind == "commit"}


async def _bases(git: GitDirectory, ours: str, theirs: str) -> list[str]:
    """None where they have nothing in common."""
    try:
        said = await git.run("merge-base", "--all", ours, theirs)
    except GitFailed as error:
        if error.status == _NO:
            return []
        raise
    return said.decode("ascii").split()[:_MOST_BASES]


async def _between(git: GitDirectory, one: str, other: str, path: str | None = None) -> set[str]:
    options = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev")
    paths = [path] if path is not None else []
    said = await git.run("diff-tree", *options, one, other, "--", *paths, within=_WITHIN)
    return _names(line.decode("ascii") for line in said.split(b"\0")[::2])


def _absent(said: bytes) -> set[str]:
    return {line[1:] for line in said.decode("ascii").splitlines() if line.startswith("?")}


def _names(lines: Iterable[str]) -> set[str]:
    """Before and after, of raw differences without their paths."""
    found = set()
    for line in lines:
        if line.startswith(":"):
            mode, its_mode, name, its_name, _ = line[1:].split()
            found |= {each for each, of in ((name, mode), (its_name, its_mode)) if of != _SUBMODULE}
    return found - {_NOTHING}


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("ascii")
