"""Files of a sandbox, for who is outside: a child of the resident reads and writes them as a program would.

It sees what programs see, and may do no more: a path leads nowhere that they could not go. Each conversation
is one request, a line of JSON, and its answer, a line as well; bytes follow where there are any.
"""

import errno
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.box import WORKSPACE

LENGTH = struct.Struct("!I")
"""Before each piece of what is written; the one of no bytes is the end."""
PIECE = 256 * 1024
MOST_LISTED = 50_000
DEEPEST = 64
_LONGEST_LINE = 64 * 1024
_PATIENCE = 60
"""Seconds in which whoever has asked takes, or sends, something."""
_NEW, _NEW_FOLDER = 0o644, 0o755
_DRAFT = ".signalbox-draft-"
_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}

Entry = dict[str, Any]


class NotAFile(OSError):
    """It is a folder, a device, or something that would never end."""


class NoRoom(OSError):
    """The sandbox has as much on its disk as it may."""

    def __init__(self) -> None:
        super().__init__(errno.EDQUOT, "it has as much on its disk as it may")


_CODES = {NotAFile: "not_a_file", NoRoom: "sandbox_full"}


def serve(conversation: socket.socket, room: int | None) -> None:
    """One request; a conversation that is cut leaves nothing half done.

    `room` is how many bytes may be written, where that is limited; with none, nothing may be made at all.
    """
    conversation.setblocking(True)  # noqa: FBT003 - its only form
    for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # Python's own would not block
        conversation.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", _PATIENCE, 0))
    _tell(conversation, {})
    request = json.loads(_line(conversation))
    try:
        os.chdir(WORKSPACE)
        _DOES[request["do"]](conversation, request | {"room": room})
    except OSError as error:
        code = _CODES.get(type(error)) or errno.errorcode.get(error.errno or 0, "EIO")
        _tell(conversation, {"error": code, "detail": error.strerror or str(error)})
    except (KeyError, ValueError, TypeError) as error:
        _tell(conversation, {"error": "malformed", "detail": str(error)})


# -- what is asked -------------------------------------------------------------------------------------------


def _read(conversation: socket.socket, request: Entry) -> None:
    """The file as it is now: one that grows meanwhile is cut there."""
    descriptor = _open(_path(request), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotAFile(errno.EINVAL, "it is no file")
        offset = min(int(request.get("from", 0)), found.st_size)
        left = found.st_size - offset
        _tell(conversation, {**_described(found), "left": left})
        with suppress(OSError):  # who reads sees that it is not whole
            while left > 0:
                sent = os.sendfile(conversation.fileno(), descriptor, offset, min(left, PIECE))
                if not sent:
                    break  # it was cut
                offset, left = offset + sent, left - sent
    finally:
        os.close(descriptor)


def _write(conversation: socket.socket, request: Entry) -> None:
    """Whole, or not at all: beside it first, and then in its place."""
    path, room = _path(request), request["room"]
    if room == 0:
        raise NoRoom
    if request.get("parents"):
        _as_path(path).parent.mkdir(parents=True, exist_ok=True)
    with _parent(path) as (folder, name):
        mode = request.get("mode")
        if mode is None:
            mode = _NEW
            with suppress(FileNotFoundError):
                mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        draft = os.fsencode(f"{_DRAFT}{os.urandom(8).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            _tell(conversation, {})
            _write_pieces(_pieces(conversation), descriptor, room)
            os.fchmod(descriptor, mode & 0o777)
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
    _tell(conversation, {})


def _write_pieces(pieces: Iterator[bytes], descriptor: int, room: int | None) -> None:
    """Raises what stands against it when all have come: whoever sends them only listens then."""
    written = 0
    try:
        for piece in pieces:
            written += len(piece)
            if room is not None and written > room:
                raise NoRoom
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
    except OSError:
        for _ in pieces:
            pass
        raise


def _stat(conversation: socket.socket, request: Entry) -> None:
    path = _path(request)
    _tell(conversation, _named(path) | _described(os.lstat(path)))


def _list(conversation: socket.socket, request: Entry) -> None:
    """Lines, the last one says whether it is all."""
    root = _path(request)
    depth = min(int(request.get("depth", 1)), DEEPEST)
    descriptor = _open(root, os.O_RDONLY | os.O_DIRECTORY)
    with os.fdopen(conversation.fileno(), "wb", closefd=False) as out:
        complete = _list_into(out, descriptor, b"", depth)
        out.write(json.dumps({"end": True, "complete": complete}).encode() + b"\n")


def _list_into(out: Any, folder: int, path: bytes, depth: int) -> bool:
    waiting = [(folder, path, depth)]
    listed = 0
    while waiting:
        descriptor, prefix, left = waiting.pop()
        try:
            for name in sorted(map(os.fsencode, os.listdir(descriptor))):  # noqa: PTH208 - by its descriptor
                if listed >= MOST_LISTED:
                    for other, _, _ in waiting:
                        os.close(other)
                    return False
                with suppress(FileNotFoundError):  # it went meanwhile
                    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    entry = _named(prefix + name) | _described(found)
                    if stat.S_ISLNK(found.st_mode):
                        entry |= {"target": os.fsdecode(os.readlink(name, dir_fd=descriptor))}
                    out.write(json.dumps(entry).encode() + b"\n")
                    listed += 1
                    if left > 1 and stat.S_ISDIR(found.st_mode):
                        with suppress(OSError):  # not for us to look into, or another thing by now
                            inner = os.open(
                                name,
                                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                                dir_fd=descriptor,
                            )
                            waiting.append((inner, prefix + name + b"/", left - 1))
        finally:
            os.close(descriptor)
    return True


def _make_folder(conversation: socket.socket, request: Entry) -> None:
    path = _path(request)
    parents = bool(request.get("parents"))
    if request["room"] == 0:
        raise NoRoom
    _as_path(path).mkdir(_NEW_FOLDER, parents=parents, exist_ok=parents)
    _tell(conversation, {})


def _move(conversation: socket.socket, request: Entry) -> None:
    path, to = _path(request), _path(request, "to")
    if request.get("replace"):
        _as_path(path).rename(_as_path(to))
    else:
        libc.rename_onto_nothing(path, to)
    _tell(conversation, {})


def _remove(conversation: socket.socket, request: Entry) -> None:
    path = _path(request)
    with _parent(path) as (folder, name):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=folder)
        elif request.get("recursive"):
            if found.st_dev != os.fstat(folder).st_dev:
                raise OSError(errno.EBUSY, "something is mounted there: what is in it can be removed")
            _remove_tree(folder, name)
        else:
            os.rmdir(name, dir_fd=folder)
    _tell(conversation, {})


def _remove_tree(folder: int, name: bytes) -> None:
    """By a program that gets through folders of any depth."""
    os.fchdir(folder)
    pid = os.posix_spawnp("rm", ["rm", "-rf", "--", os.fsdecode(name)], os.environ)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise OSError(errno.EACCES, "not all of it could be removed")


_DOES = {
    "read": _read,
    "write": _write,
    "stat": _stat,
    "list": _list,
    "make-folder": _make_folder,
    "move": _move,
    "remove": _remove,
}


# -- paths ---------------------------------------------------------------------------------------------------


def _path(request: Entry, name: str = "path") -> bytes:
    path = request[name].encode("utf-8", "surrogateescape")
    if not path or b"\0" in path or len(path) > 4095:
        raise ValueError(f"{name} is no path")
    return bytes(path)


def _as_path(path: bytes) -> Path:
    return Path(os.fsdecode(path))


def _open(path: bytes, flags: int) -> int:
    """Not by links that only the kernel makes: those lead to what this process itself has open."""
    return libc.open_by_path(path, flags, libc.NO_MAGIC_LINKS)


@contextmanager
def _parent(path: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the folder that it is in, and its name there: whatever is moved meanwhile."""
    folder, name = os.path.split(path.rstrip(b"/"))
    if name in (b"", b".", b".."):
        raise ValueError("this is no name of a file")
    descriptor = _open(folder or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def _named(path: bytes) -> Entry:
    return {"path": os.fsdecode(path)}


def _described(found: os.stat_result) -> Entry:
    return {
        "type": _TYPES.get(stat.S_IFMT(found.st_mode), "other"),
        "size": found.st_size,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "modifiedAt": found.st_mtime,
    }


# -- the conversation ----------------------------------------------------------------------------------------


def _line(conversation: socket.socket) -> bytes:
    """No more than that: what follows is not to be taken yet."""
    data = b""
    while not data.endswith(b"\n"):
        waiting = conversation.recv(_LONGEST_LINE, socket.MSG_PEEK)
        if not waiting or len(data) > _LONGEST_LINE:
            raise ValueError("the request has no end")
        data += conversation.recv(waiting.find(b"\n") + 1 or len(waiting))
    return data


def _pieces(conversation: socket.socket) -> Iterator[bytes]:
    while length := LENGTH.unpack(_exactly(conversation, LENGTH.size))[0]:
        if length > PIECE:
            raise ValueError("a piece is too long")
        yield _exactly(conversation, length)


def _exactly(conversation: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = conversation.recv(size - len(data))
        if not more:
            raise OSError(errno.ECONNRESET, "whoever writes has gone")
        data += more
    return bytes(data)


def _tell(conversation: socket.socket, message: Entry) -> None:
    conversation.sendall(json.dumps(message).encode() + b"\n")
