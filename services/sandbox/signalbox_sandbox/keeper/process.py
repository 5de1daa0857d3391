"""One program of a sandbox, and the descriptors between it and us."""

import fcntl
import os
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from signalbox_sandbox.keeper.loop import Timer
from signalbox_sandbox.keeper.output import Budget, Output
from signalbox_sandbox.keeper.refused import Refused
from signalbox_sandbox.keeper.wire import Kind

READ = 256 * 1024
"""Bytes that are read, or lie in a pipe, at a time."""
_SET_PIPE_SIZE = 1031

Then = Callable[["Process | Refused"], None]


class Process:
    def __init__(self, key: str, asked: dict[str, Any], budget: Budget) -> None:
        self.key = key
        self.asked = asked
        """What it was started with: asked for again otherwise, it is a conflict."""
        self.output = Output(hold=bool(asked.get("hold")), budget=budget)
        self.pid = 0
        self.started_at = time.time()
        self.streams: dict[int, Kind] = {}
        """Descriptors that are read, until they end."""
        self.paused: set[int] = set()
        """Those of them that nobody reads, as there is no room."""
        self.stdin: int | None = None
        self.terminal: int | None = None
        self.taken = 0
        """Bytes of its input that it was given."""
        self.writers: deque[Callable[[], None]] = deque()
        """Who has input for it: the first one writes, and goes when it is done."""
        self.waiting: list[Then] = []
        """Who asked for it while it is being started."""
        self.status: int | None = None
        self.reason = "exited"
        self.timeout = 0.0
        """Seconds until it is ended with all that it has started; none where there are none."""
        self.timer: Timer | None = None

    @property
    def described(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "pid": self.pid,
            "argv": self.asked["argv"],
            "startedAt": self.started_at,
            "begin": self.output.begin,
            "end": self.output.end,
            "confirmed": self.output.confirmed,
            "inputTaken": self.taken,
            **self.state,
        }

    @property
    def state(self) -> dict[str, Any]:
        if self.status is None:
            return {"state": "running"}
        code = os.waitstatus_to_exitcode(self.status)
        return {
            "state": "ended",
            "exitCode": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "reason": self.reason,
        }


def resize(process: Process, rows: int, columns: int) -> None:
    if process.terminal is None:
        raise Refused("no_terminal", "The process has no terminal.")
    fcntl.ioctl(process.terminal, termios.TIOCSWINSZ, size_of(rows, columns))


def size_of(rows: int, columns: int) -> bytes:
    """Of a terminal, as the kernel takes it."""
    try:
        return struct.pack("HHHH", rows, columns, 0, 0)
    except struct.error as error:
        raise Refused("malformed", "A terminal has 0 to 65535 rows and columns.") from error


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def pipes() -> tuple[list[int], list[int]]:
    """Our ends of standard input, output and error, and those of the process."""
    given, stdin = os.pipe()
    stdout, out = os.pipe()
    stderr, err = os.pipe()
    with suppress(OSError):  # there is a limit for all pipes of a user
        fcntl.fcntl(stdout, _SET_PIPE_SIZE, READ)
    return [stdin, stdout, stderr], [given, out, err]
