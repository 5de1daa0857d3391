"""What a sandbox has changed of the tree that its workspace began with, read from its upper layer.

A child of the keeper reads it, under the uid of sandboxes, while nothing inside can change it: beneath the
two roots, and never by a link. It is asked twice: what there is, and the bytes of some of it.
"""

import json
import os
import socket
import stat
import struct
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from signalbox_sandbox.keeper import libc

PATH = struct.Struct("!I")
"""Before each path that is asked for; the one of no bytes is the end."""
SIZE = struct.Struct("!Q")
"""Before the bytes of each."""
NO_FILE = 2**64 - 1
END = b'{"end":true}'
IGNORES = b".gitignore"
GIT = b".git"
_LARGEST_IGNORES = 256 * 1024
_PIECE = 256 * 1024
_PATIENCE = 60
_OPAQUE = "user.overlay.opaque"


class Roots(NamedTuple):
    """Descriptors of the layers; without a tree below, all is new."""

    upper: int
    lower: int | None


def serve(conversation: socket.socket, upper: Path, lower: Path | None) -> None:
    conversation.setblocking(True)  # noqa: FBT003 - its only form
    for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        conversation.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", _PATIENCE, 0))
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    roots = Roots(os.open(upper, flags), os.open(lower, flags) if lower is not None else None)
    with conversation.makefile("rwb") as stream:
        for line in _changes(roots):
            stream.write(json.dumps(line).encode() + b"\n")
        stream.write(END + b"\n")
        stream.flush()
        while length := PATH.unpack(stream.read(PATH.size))[0]:
            _send(stream, roots.upper, stream.read(length))
        stream.flush()


# -- what there is -------------------------------------------------------------------------------------------


def _changes(roots: Roots) -> Iterator[dict[str, Any]]:
    """Folders before what lies in them, so that what is ignored there is known by then."""
    waiting = [(b"", False)]
    while waiting:
        folder, hides = waiting.pop()
        with _opened(roots.upper, folder or b".") as here, _below(roots.lower, folder) as beneath:
            hides = hides or (folder != b"" and _is_opaque(here))  # and so do all folders in it
            is_submodule = not hides and _kind(beneath, GIT) is not None
            if folder and (is_submodule or _is_repository(here)):
                yield _line(folder, "left", why="repository")
                continue
            yield from _ignores(here, None if hides else beneath, folder)
            names = sorted(map(os.fsencode, os.listdir(here)))  # noqa: PTH208 - by its descriptor
            for name in names:
                path = folder + b"/" + name if folder else name
                if path == GIT:
                    continue
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    if _kind(beneath, name) not in (None, stat.S_IFDIR):
                        yield _line(path, "deleted")
                    waiting.append((path, hides))
                else:
                    yield from _entry(roots, here, beneath, path, found)
        if hides:
            yield from _deleted_beneath(roots.lower, folder, spared=set(names))


def _entry(
    roots: Roots, here: int, beneath: int | None, path: bytes, found: os.stat_result
) -> Iterator[dict[str, Any]]:
    """`here` and `beneath` are its folder in both layers."""
    name = path.rpartition(b"/")[2]
    below = _kind(beneath, name)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        yield from _gone(roots.lower, path, below)
        return
    if below == stat.S_IFDIR and not _is_submodule(roots.lower, path):  # else this takes its place
        yield from _deleted_beneath(roots.lower, path)
    tracked = below is not None and below != stat.S_IFDIR
    if stat.S_ISREG(found.st_mode):
        if not (tracked and beneath is not None and _is_same(here, beneath, name, found)):
            mode = "100755" if found.st_mode & 0o100 else "100644"
            yield _line(path, "file", mode=mode, size=found.st_size, tracked=tracked)
    elif stat.S_ISLNK(found.st_mode):
        target = os.readlink(name, dir_fd=here)
        same = below == stat.S_IFLNK and os.readlink(name, dir_fd=beneath) == target
        if not same:
            yield _line(path, "link", mode="120000", size=len(target), tracked=tracked, target=_text(target))
    else:
        yield _line(path, "left", why="special")


def _gone(lower: int | None, path: bytes, below: int | None) -> Iterator[dict[str, Any]]:
    if below == stat.S_IFDIR:
        yield from _deleted_beneath(lower, path)
    elif below is not None:
        yield _line(path, "deleted")


def _deleted_beneath(
    lower: int | None, path: bytes, spared: set[bytes] | None = None
) -> Iterator[dict[str, Any]]:
    """All files of a folder below, but those whose names are there again."""
    with _below(lower, path) as there:
        if there is None or lower is None:
            return
    waiting = [(path, spared or set())]
    while waiting:
        folder, kept = waiting.pop()
        with _opened(lower, folder) as here:
            if _kind(here, GIT) is not None:  # a submodule is one entry of the tree that it is in
                yield _line(folder, "deleted")
                continue
            for name in sorted(map(os.fsencode, os.listdir(here))):  # noqa: PTH208 - by its descriptor
                if name in kept:
                    continue
                inner = folder + b"/" + name
                if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                    waiting.append((inner, set()))
                else:
                    yield _line(inner, "deleted")


def _ignores(here: int, lower: int | None, folder: bytes) -> Iterator[dict[str, Any]]:
    """The rules of a folder, as they are seen inside; those of folders above hold, too."""
    for root in (here, lower):
        if root is None:
            continue
        with suppress(OSError), _opened(root, IGNORES, os.O_RDONLY | os.O_NONBLOCK) as file:
            if stat.S_ISREG(os.fstat(file).st_mode):
                yield _line(folder, "ignores", text=_text(os.read(file, _LARGEST_IGNORES)))
            return
        if root is here and _kind(here, IGNORES) is not None:
            return  # deleted, or nothing that has rules


def _is_repository(folder: int) -> bool:
    with suppress(FileNotFoundError):
        found = os.stat(GIT, dir_fd=folder, follow_symlinks=False)
        return not (stat.S_ISCHR(found.st_mode) and found.st_rdev == 0)
    return False


def _is_submodule(lower: int | None, path: bytes) -> bool:
    with _below(lower, path) as there:
        return _kind(there, GIT) is not None


def _is_opaque(folder: int) -> bool:
    with suppress(OSError):
        return os.getxattr(folder, _OPAQUE) == b"y"
    return False


def _is_same(here: int, beneath: int, name: bytes, found: os.stat_result) -> bool:
    """Whether it was only touched."""
    was = os.stat(name, dir_fd=beneath, follow_symlinks=False)
    if not stat.S_ISREG(was.st_mode):
        return False
    if was.st_size != found.st_size or (was.st_mode ^ found.st_mode) & 0o100:
        return False
    flags = os.O_RDONLY | os.O_NONBLOCK
    with suppress(OSError), _opened(here, name, flags) as now, _opened(beneath, name, flags) as below:
        while True:
            one, other = os.read(now, _PIECE), os.read(below, _PIECE)
            if one != other:
                return False
            if not one:
                return True
    return False


# -- bytes ---------------------------------------------------------------------------------------------------


def _send(stream: Any, upper: int, path: bytes) -> None:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_opened(upper, path, os.O_RDONLY | os.O_NONBLOCK))
            found = os.fstat(file)
        except OSError:
            stream.write(SIZE.pack(NO_FILE))
            return
        left = found.st_size if stat.S_ISREG(found.st_mode) else NO_FILE
        stream.write(SIZE.pack(left))
        while left and left != NO_FILE:
            piece = os.read(file, min(left, _PIECE))
            if not piece:
                os._exit(1)  # it has become shorter: the conversation is cut
            stream.write(piece)
            left -= len(piece)


# -- beneath the roots ---------------------------------------------------------------------------------------


@contextmanager
def _opened(root: int, path: bytes, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> Iterator[int]:
    found = libc.open_by_path(path, flags | os.O_NOFOLLOW, libc.BENEATH | libc.NO_LINKS, root)
    try:
        yield found
    finally:
        os.close(found)


@contextmanager
def _below(root: int | None, folder: bytes) -> Iterator[int | None]:
    """The same folder in the layer below; None where there is none."""
    with ExitStack() as stack:
        found = None
        if root is not None:
            with suppress(OSError):
                found = stack.enter_context(_opened(root, folder or b"."))
        yield found


def _kind(folder: int | None, name: bytes) -> int | None:
    """What is called so there; None where nothing is."""
    if folder is None:
        return None
    with suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_IFMT(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return None


def _line(path: bytes, kind: str, **more: Any) -> dict[str, Any]:
    return {"path": _text(path), "kind": kind, **more}


def _text(raw: bytes) -> str:
    """Names are bytes."""
    return b64encode(raw).decode()
