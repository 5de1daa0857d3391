"""A test run leaves nothing behind: however it ends, a process beside it ends all that it started.

That process waits for the end of a pipe that only the run holds. What belongs to the run carries its mark in
its environment; servers that write their title over theirs work in its folder.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

MARK = "TEST_RUN_OF_SIGNALBOX"
_SERVERS = frozenset({"postgres", "valkey-server", "redis-server", "nats-server"})
_PR_SET_PDEATHSIG = 1


@cache
def run_folder() -> Path:
    """Of this process, for all that it starts; it is gone when this process is."""
    folder = Path(tempfile.mkdtemp(prefix="signalbox-test-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    if "PYTEST_XDIST_WORKER" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a worker would outlive who started it
    waits, _ours = os.pipe()  # ours stays open for as long as this process lives, and nobody inherits it
    null = os.open(os.devnull, os.O_RDWR)
    os.posix_spawn(
        sys.executable,
        [sys.executable, __file__, str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, waits, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, null, 2),
        ],
        setsid=True,
    )
    os.close(waits)
    os.close(null)
    os.environ[MARK] = str(folder)
    return folder


def new_folder(name: str) -> Path:
    """In a folder of its own, which only its owner can enter."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=run_folder()))


def started_in(folder: Path) -> list[psutil.Process]:
    """What the run of that folder has started and is still there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and _belongs(process, folder):
                found.append(process)
    return found


def _belongs(process: psutil.Process, folder: Path) -> bool:
    if process.environ().get(MARK) == str(folder):
        return True
    return Path(process.exe()).name in _SERVERS and Path(process.cwd()).is_relative_to(folder)


def _end(folder: Path) -> None:
    """PostgreSQL is asked first: killed, it would leave shared memory behind."""
    asked = False
    while found := started_in(folder):
        for process in found:
            with suppress(psutil.Error):
                polite = not asked and Path(process.exe()).name == "postgres"
                process.send_signal(signal.SIGQUIT if polite else signal.SIGKILL)
        psutil.wait_procs(found, timeout=3)
        asked = True
    for copy in folder.rglob("postgres-programs"):
        shutil.rmtree(copy.read_text(encoding="utf-8"), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _end(Path(sys.argv[1]))
