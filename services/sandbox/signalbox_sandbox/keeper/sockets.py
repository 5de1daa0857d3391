"""Sockets in folders whose own path may be longer than one of a socket."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKLOG = 128


@contextmanager
def reached(folder: Path) -> Iterator[Path]:
    """By a path that is short, however long the one of the folder is."""
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{at}")
    finally:
        os.close(at)


def listen(folder: Path, name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """For who has our uid alone; in the place of one that was there."""
    listener = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o177)
    try:
        with reached(folder) as short:
            (short / name).unlink(missing_ok=True)
            listener.bind(str(short / name))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener
