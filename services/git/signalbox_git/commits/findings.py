"""A look at what is about to leave: secrets, large and binary files, and most of a tree being gone."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from signalbox_common.contracts.git import LARGEST_FILE, Finding
from signalbox_git.commits.changes import workflow_files
from signalbox_git.commits.secrets import LookedTooLong, secrets_in

MIB = 1024 * 1024
LARGE = LARGEST_FILE * MIB
MOST = 100
"""Findings that are named."""
_LOOKED_AT = 2 * 1024 * 1024
"""Bytes of a file in which secrets are looked for."""
_HEAD = 8000
WITHIN = 30.0
"""Seconds for all of it."""
_SHORTEST_STORED = 8
_SMALL_TREE = 10


class ChangeEntry(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def size(self) -> int: ...


class Changes(Protocol):
    """A change set, or what a commit has changed."""

    @property
    def entries(self) -> Sequence[tuple[bytes, ChangeEntry]]: ...
    def contents(self) -> Iterator[tuple[bytes, ChangeEntry, Iterator[bytes]]]: ...


def look(
    changes: Changes,
    stored: Iterable[str],
    tree_size: int,
    *,
    largest: int = LARGE,
    within: float = WITHIN,
) -> tuple[Finding, ...]:
    """`stored` are secrets that the project keeps; `tree_size` is how many files there are before."""
    found = [*_deletions(changes, tree_size), *_sizes(changes, largest)]
    secrets = tuple(secret for secret in stored if len(secret) >= _SHORTEST_STORED)
    ends = time.monotonic() + within
    for path, entry, content in changes.contents():
        head = b""
        for piece in content:
            head += piece[: max(0, _LOOKED_AT - len(head))]
        if entry.kind == "file":
            found += _inside(path.decode("utf-8", "replace"), head, secrets, ends - time.monotonic())
    return tuple(found[:MOST])


def in_message(message: str, stored: Iterable[str], within: float) -> tuple[Finding, ...]:
    """Of what a commit says: a secret there leaves as well."""
    secrets = tuple(secret for secret in stored if len(secret) >= _SHORTEST_STORED)
    found = _inside("the message", message.encode("utf-8", "replace"), secrets, within)
    return tuple(each for each in found if each.kind == "secret")


def workflows(changes: Changes) -> tuple[Finding, ...]:
    detail = "a forge runs this with rights of its own"
    paths = (path.decode("utf-8", "replace") for path in workflow_files(changes))
    return tuple(Finding(kind="workflow", path=path, detail=detail) for path in paths)[:MOST]


def _deletions(changes: Changes, tree_size: int) -> Iterator[Finding]:
    gone = sum(entry.kind == "deleted" for _, entry in changes.entries)
    if tree_size >= _SMALL_TREE and gone * 2 > tree_size:
        yield Finding(kind="deletions", detail=f"{gone} of {tree_size} files are deleted")


def _sizes(changes: Changes, largest: int) -> Iterator[Finding]:
    for path, entry in changes.entries:
        if entry.size > largest:
            name = path.decode("utf-8", "replace")
            yield Finding(kind="large", path=name, detail=f"{entry.size} bytes")


def _inside(path: str, head: bytes, stored: tuple[str, ...], within: float) -> Iterator[Finding]:
    if b"\0" in head[:_HEAD]:
        yield Finding(kind="binary", path=path, detail="a binary file")
    text = head.decode("utf-8", "replace")
    try:
        for number, what in secrets_in(text, within=within):
            yield Finding(kind="secret", path=path, line=number, detail=what)
    except LookedTooLong:
        yield Finding(kind="large", path=path, detail="not looked through in time")
    if any(secret in text for secret in stored):
        yield Finding(kind="secret", path=path, detail="a credential that the project keeps")
