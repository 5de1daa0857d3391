"""What is in a mirror, asked of git: names go in by its standard input, never as options."""

import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.git import TreeEntryType, split_revision
from signalbox_git import errors
from signalbox_git.command import LARGEST_ANSWER, AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.domain import HEADS, TAGS
from signalbox_git.mirrors.mirror import MirrorBroken

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
LONGEST_BODY = 4000
MOST_ENTRIES = 2000
MOST_FILES = 1000
LARGEST_BLOB = 32 * 1024 * 1024
LARGEST_DIFF = 16 * 1024 * 1024
_LARGEST_BLAME = 4 * 1024 * 1024
_WITHIN = 20.0
_MEMORY = {resource.RLIMIT_DATA: 768 * 1024 * 1024}
"""A few trees within each other may stand for more files than anybody has."""
_BINARY = (("core.bigFileThreshold", "32m"),)
"""Files beyond it are compared without being held in memory."""
_HEX = re.compile(r"[0-9a-f]{7,64}")
_PERSON = "%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct"
_COMMIT = ("-z", f"--format=%H%x00%P%x00{_PERSON}%x00%s%x00%b")
_FIELDS = 10
"""Of each, which NUL ends, and nothing in one can be that."""
_LONGEST_SUBJECT = 1000
_LONGEST_NAME = 400
_TYPES = {
    "120000": TreeEntryType.LINK,
    "040000": TreeEntryType.FOLDER,
    "160000": TreeEntryType.SUBMODULE,
}
_REF = "%(refname)%00%(objectname)%00%(*objectname)%00%(subject)%00%(creatordate:unix)"


@dataclass(frozen=True)
class NamedRef:
    """A branch or a tag, without what its kind begins with."""

    name: str
    commit: str
    subject: str
    at: datetime


async def resolve(git: GitDirectory, revision: str | None, head: str | None) -> str:
    """The commit; raises RevisionNotFound and MirrorBroken."""
    name, steps = split_revision(revision or head or "")
    names = [f"{HEADS}{name}", f"{TAGS}{name}"]
    if name == "HEAD" and head is not None:
        names = [f"{HEADS}{head}"]
    if _HEX.fullmatch(name):
        names.append(name)
    if not name:
        raise errors.RevisionNotFound
    asked = "".join(f"{each}{steps}^{{commit}}\n" for each in names).encode()
    try:
        said = await _asked(git, "cat-file", "--batch-check=%(objectname)", given=asked)
    except GitFailed as error:
        raise errors.RevisionNotFound from error
    for line in said.decode("ascii", "replace").splitlines():
        if _HEX.fullmatch(line):
            return line
    if not steps and await _is_named(git, names[:2]):
        raise MirrorBroken(f"{name} leads to nothing")
    raise errors.RevisionNotFound


async def _is_named(git: GitDirectory, names: list[str]) -> bool:
    """git answers with what lies below a name, too."""
    said = await _asked(git, "for-each-ref", "--format=%(refname)", *names)
    return not {*names}.isdisjoint(said.decode("utf-8", "surrogateescape").split("\n"))


async def refs(git: GitDirectory, prefix: str, after: str, limit: int) -> list[NamedRef]:
    """By name, those that come after that one; git goes through them all, which it does quickly."""
    listing = ("for-each-ref", f"--format={_REF}", "--sort=refname", prefix)
    said = await _asked(git, *listing, most=LARGEST_ANSWER)
    found = []
    for line in filter(None, said.decode("utf-8", "replace").split("\n")):
        name, own, peeled, subject, at = line.split("\0")
        name = name.removeprefix(prefix)
        if name > after:
            found.append(NamedRef(name, peeled or own, subject[:_LONGEST_SUBJECT], _moment(at)))
            if len(found) >= limit:
                break
    return found


async def log(
    git: GitDirectory, commit: str, path: str | None, limit: int, skip: int
) -> list[contract.CommitEntry]:
    arguments = ["log", *_COMMIT, f"--max-count={limit}", f"--skip={skip}", commit, "--"]
    said = await _asked(git, *arguments, *([path] if path is not None else []))
    return list(_commits(said))


async def show(git: GitDirectory, commit: str) -> contract.ShownCommit:
    """Against its first parent."""
    entry = next(_commits(await _asked(git, "log", *_COMMIT, "--max-count=1", commit, "--")))
    both = (entry.parents[0] if entry.parents else EMPTY_TREE, commit)
    options = ("--no-renames", "-r", "-z")
    names = await _asked(git, "diff-tree", *options, "--name-status", *both, "--")
    counts = await _asked(git, "diff-tree", *options, "--numstat", *both, "--")
    lines = {}
    for line in islice(filter(None, counts.split(b"\0")), MOST_FILES):
        added, removed, path = line.split(b"\t", 2)
        lines[path] = (_count(added), _count(removed))
    words = names.split(b"\0")[: 2 * (MOST_FILES + 1)]
    files = tuple(
        contract.ChangedFile(
            path=_shown(path),
            status=status.decode("ascii")[:1],
            added=lines.get(path, (None, None))[0],
            removed=lines.get(path, (None, None))[1],
        )
        for status, path in zip(words[0::2], words[1::2], strict=False)
    )
    return contract.ShownCommit(commit=entry, files=files[:MOST_FILES], complete=len(files) <= MOST_FILES)


async def tree(git: GitDirectory, commit: str, path: str | None) -> contract.TreeListing:
    """Raises PathNotFound."""
    kind, _ = await _object(git, commit, path)
    if kind != "tree":
        raise errors.PathNotFound
    said = await _asked(git, "ls-tree", "-z", "--long", f"{commit}:{path or ''}", most=LARGEST_DIFF)
    found = tuple(islice(_entries(said, f"{path}/" if path else ""), MOST_ENTRIES + 1))
    return contract.TreeListing(
        commit=commit, items=found[:MOST_ENTRIES], complete=len(found) <= MOST_ENTRIES
    )


async def blob(git: GitDirectory, commit: str, path: str) -> bytes:
    """Raises PathNotFound and TooMuch."""
    kind, size = await _object(git, commit, path)
    if kind != "blob":
        raise errors.PathNotFound
    if size > LARGEST_BLOB:
        raise errors.TooMuch
    return await _asked(git, "cat-file", "blob", f"{commit}:{path}", most=LARGEST_BLOB)


async def diff(git: GitDirectory, base: str | None, head: str, path: str | None) -> bytes:
    """Unified; without a base that of one commit. Raises TooMuch."""
    if base is None:
        parents = (await _asked(git, "log", "--max-count=1", "--format=%P", head, "--")).split()
        base = parents[0].decode("ascii") if parents else EMPTY_TREE
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--patch", "-r")
    paths = [path] if path is not None else []
    return await _asked(git, "diff-tree", *options, base, head, "--", *paths, most=LARGEST_DIFF)


async def merge_base(git: GitDirectory, one: str, other: str) -> str | None:
    try:
        return (await _asked(git, "merge-base", one, other)).decode("ascii").strip()
    except GitFailed:
        return None


async def blame(
    git: GitDirectory, commit: str, path: str, *, follow: bool = True
) -> list[contract.BlamedLines]:
    """Raises PathNotFound and TooMuch; `follow` is to where the file had another name."""
    kind, size = await _object(git, commit, path)
    if kind != "blob":
        raise errors.PathNotFound
    if size > _LARGEST_BLAME:
        raise errors.TooMuch
    options = ("--incremental", *([] if follow else ["--no-follow"]))
    said = await _asked(git, "blame", *options, commit, "--", path)
    return sorted(_blamed(said), key=lambda each: each.first)


# -- words of git ------------------------------------------------------------------------------------------


async def _asked(git: GitDirectory, *arguments: str, given: bytes = b"", most: int = LARGEST_DIFF) -> bytes:
    """Raises TooMuch where it takes more than one answer may, of whatever."""
    try:
        return await git.run(
            *arguments, given=given, config=_BINARY, within=_WITHIN, most=most, limits=_MEMORY
        )
    except (AnsweredTooMuch, TookTooLong) as error:
        raise errors.TooMuch from error
    except GitFailed as error:
        if error.status < 0:  # it was ended: trees are too deep for its stack
            raise errors.TooMuch from error
        raise


async def _object(git: GitDirectory, commit: str, path: str | None) -> tuple[str, int]:
    """What lies there, and its size; raises PathNotFound."""
    if path is not None and ("\n" in path or "\r" in path):
        return await _odd_object(git, commit, path)
    asked = f"{commit}:{path or ''}\n".encode()
    said = await _asked(git, "cat-file", "--batch-check=%(objecttype) %(objectsize)", given=asked)
    kind, _, size = said.decode("ascii", "replace").strip().rpartition(" ")
    if not size.isdecimal():
        raise errors.PathNotFound
    return kind, int(size)


async def _odd_object(git: GitDirectory, commit: str, path: str) -> tuple[str, int]:
    """A line of input cannot hold its name."""
    said = await _asked(git, "ls-tree", "-z", "--long", commit, "--", path)
    for line in filter(None, said.split(b"\0")):
        _, kind, _, size = line.partition(b"\t")[0].decode("ascii").split()
        return kind, int(size) if size.isdecimal() else 0
    raise errors.PathNotFound


def _commits(said: bytes) -> Iterator[contract.CommitEntry]:
    words = said.decode("utf-8", "replace").split("\0")
    for start in range(0, len(words) - _FIELDS, _FIELDS):
        record = words[start : start + _FIELDS]
        own, parents, author, email, at, committer, its_email, its_at, subject, body = record
        yield contract.CommitEntry(
            id=own,
            parents=tuple(parents.split()),
            author=_person(author, email, at),
            committer=_person(committer, its_email, its_at),
            subject=subject[:_LONGEST_SUBJECT],
            body=body.strip()[:LONGEST_BODY],
        )


def _person(name: str, email: str, at: str) -> contract.GitPerson:
    return contract.GitPerson(name=name[:_LONGEST_NAME], email=email[:_LONGEST_NAME], at=_moment(at))


def _entries(said: bytes, prefix: str) -> Iterator[contract.TreeEntry]:
    for line in filter(None, said.split(b"\0")):
        head, _, name = line.partition(b"\t")
        mode, _, own, size = head.decode("ascii").split()
        yield contract.TreeEntry(
            path=prefix + _shown(name),
            type=_TYPES.get(mode, TreeEntryType.FILE),
            mode=mode,
            id=own,
            size=int(size) if size.isdecimal() else None,
        )


def _blamed(said: bytes) -> Iterator[contract.BlamedLines]:
    """Each group begins with its commit; what is known of a commit is said once."""
    known: dict[str, dict[str, str]] = {}
    commit, first, count = "", 0, 0
    for line in said.decode("utf-8", "replace").split("\n"):
        word, _, rest = line.partition(" ")
        if len(word) in (40, 64) and _HEX.fullmatch(word):
            _, first_text, count_text = rest.split()
            commit, first, count = word, int(first_text), int(count_text)
            known.setdefault(commit, {})
        elif word == "filename":
            about = known[commit]
            yield contract.BlamedLines(
                commit=commit,
                author=about.get("author", "")[:_LONGEST_NAME],
                at=_moment(about.get("author-time", "0")),
                subject=about.get("summary", "")[:_LONGEST_SUBJECT],
                first=first,
                count=count,
            )
        elif word in ("author", "author-time", "summary"):
            known[commit][word] = rest


def _moment(seconds: str) -> datetime:
    """Somebody may have written any date into a commit."""
    try:
        return datetime.fromtimestamp(int(seconds or 0), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _count(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")
