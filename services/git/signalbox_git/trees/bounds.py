"""What of a commit is laid out: no more than fits, and no names that a folder does not take."""

import asyncio
import resource
import tempfile
from collections.abc import Iterator
from typing import IO

from signalbox_git.command import AnsweredTooMuch, GitFailed, TookTooLong
from signalbox_git.mirrors.mirror import Mirror

MOST_FILES = 1_000_000
DEEPEST = 256
"""Folders within each other: whoever walks through a tree may go one call deeper for each."""
LONGEST_NAME = 255
LONGEST_PATH = 3000
"""With the folder that the tree is in, a path has at most 4096 bytes."""
_MIB = 1024 * 1024
_LIMITS = {resource.RLIMIT_DATA: 512 * _MIB, resource.RLIMIT_FSIZE: 256 * _MIB}
_WITHIN = 60.0
_PIECE = 256 * 1024
_SHOWN = 60


class TreeTooLarge(Exception):
    """A small pack may hold large files, and a few trees within each other any number."""


class CannotBeLaidOut(Exception):
    """Carries a sentence for whoever wants the checkout; it stays so, however often it is tried."""


async def size_of(mirror: Mirror, commit: str) -> int:
    """Of its files together. Raises TreeTooLarge and CannotBeLaidOut."""
    form = ("ls-tree", "-r", "-z", "--full-tree", "--format=%(objectsize) %(path)")
    with tempfile.TemporaryFile() as listing:
        try:
            await mirror.git.run(*form, commit, within=_WITHIN, into=listing, limits=_LIMITS)
        except (AnsweredTooMuch, TookTooLong) as error:
            raise TreeTooLarge from error
        except GitFailed as error:
            if error.status < 0:  # its stack has an end, and so has the file
                raise TreeTooLarge from error
            raise
        return await asyncio.to_thread(_measured, listing)


def _measured(listing: IO[bytes]) -> int:
    total = 0
    for count, line in enumerate(_lines(listing), 1):
        size, _, path = line.partition(b" ")
        total += int(size) if size.isdigit() else 0
        if count > MOST_FILES:
            raise TreeTooLarge
        if len(path) > LONGEST_NAME:
            _check(path)
    return total


def _lines(listing: IO[bytes]) -> Iterator[bytes]:
    listing.seek(0)
    rest = b""
    while piece := listing.read(_PIECE):
        *lines, rest = (rest + piece).split(b"\0")
        yield from lines


def _check(path: bytes) -> None:
    parts = path.split(b"/")
    shown = path[:_SHOWN].decode("utf-8", "replace")
    if any(len(part) > LONGEST_NAME for part in parts):
        raise CannotBeLaidOut(f"A name has more than {LONGEST_NAME} bytes: {shown}…")
    if len(path) > LONGEST_PATH:
        raise CannotBeLaidOut(f"A path has more than {LONGEST_PATH} bytes: {shown}…")
    if len(parts) > DEEPEST:
        raise CannotBeLaidOut(f"More than {DEEPEST} folders lie within each other: {shown}…")
