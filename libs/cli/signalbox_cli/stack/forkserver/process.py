"""The fork server: `python -m signalbox_cli.stack.forkserver.process CHANNEL MODULE ...`.

It imports the modules, with one thread and no connection, and forks a child for each program that it is
asked for. It ends when the supervisor does; its children go on.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from signalbox_cli.stack.forkserver import wire
from signalbox_common import start

_STANDARD = frozenset({0, 1, 2})


@dataclass(frozen=True)
class Assignment:
    """What a fork is to become, seen from within it."""

    order: wire.Fork
    line: socket.socket
    log: int
    sockets: list[int]


class ForkServerProcess:
    def __init__(self, channel: socket.socket, modules: list[str]) -> None:
        self._channel = channel
        self._left = list(modules)
        self._children: dict[int, tuple[int, int]] = {}
        """By the descriptor of its process: its number and its pid."""
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> Assignment | None:
        """Returns in a child; in the server itself only when the supervisor is gone."""
        while True:
            for descriptor, _ in self._poll.poll(0 if self._left else None):
                if descriptor in self._children:
                    self._reap(descriptor)
                    continue
                message, descriptors = wire.receive(self._channel)
                match message:
                    case wire.Fork():
                        assignment = self._fork(message, descriptors)
                        if assignment is not None:
                            return assignment
                    case wire.Ping():
                        self._tell(wire.Pong(warm=not self._left))
                    case _:
                        return None
            if self._left:
                self._import_next()

    def _import_next(self) -> None:
        name = self._left.pop(0)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001 - whoever becomes it will stumble over it, and say so in its log
            traceback.print_exc()
        if not self._left:
            gc.freeze()

    def _fork(self, order: wire.Fork, descriptors: list[int]) -> Assignment | None:
        line, log, *sockets = descriptors
        while order.module in self._left:
            self._import_next()
        reason = self._shared_with(descriptors)
        if reason is not None:
            with socket.socket(fileno=line) as answer, suppress(OSError):
                wire.send(answer, wire.Refused(reason))
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                self._let_go()
                return Assignment(order, socket.socket(fileno=line), log, sockets)
            child = os.pidfd_open(pid)
            self._children[child] = (order.number, pid)
            self._poll.register(child, select.POLLIN)
            os.close(line)
        for descriptor in (log, *sockets):
            os.close(descriptor)
        return None

    def _shared_with(self, expected: list[int]) -> str | None:
        """What a child would share with its siblings and must not; other threads would not be there in it."""
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads != 1:
            return f"{threads} threads run in the fork server"
        known = {*_STANDARD, self._channel.fileno(), *self._children, *expected}
        for entry in Path("/proc/self/fd").iterdir():
            if int(entry.name) in known:
                continue
            with suppress(FileNotFoundError):  # the folder itself, closed by now
                return f"the fork server has {entry.readlink()} open"
        return None

    def _let_go(self) -> None:
        for descriptor in self._children:
            os.close(descriptor)
        self._children.clear()
        self._channel.close()

    def _reap(self, descriptor: int) -> None:
        number, pid = self._children.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        self._tell(wire.Exited(number, os.waitstatus_to_exitcode(status)))

    def _tell(self, message: wire.Message) -> None:
        with suppress(OSError):  # a supervisor that is gone is noticed when it is next listened to
            wire.send(self._channel, message)


def _become(assignment: Assignment) -> None:
    """Makes of this process what `python -m signalbox_common.start MODULE` would be."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (assignment.log, 1), (assignment.log, 2)):
        os.dup2(descriptor, standard)
    os.close(nothing)
    os.close(assignment.log)
    os.environ.update(assignment.order.environment)
    for setting, descriptor in zip(assignment.order.sockets, assignment.sockets, strict=True):
        os.environ[setting] = str(descriptor)
    sys.argv = [start.__name__, assignment.order.module]
    _show_as([sys.executable, "-m", *sys.argv])
    process = os.pidfd_open(os.getpid())
    with assignment.line as line:
        try:
            wire.send(line, wire.Forked(os.getpid()), [process])
            told = line.recv(len(wire.GO))
        except ConnectionError:
            told = b""
    os.close(process)
    if told != wire.GO:
        os._exit(0)  # nobody would watch over us


def _show_as(arguments: list[str]) -> None:
    """Writes the command line over ours, where the system shows it."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    room = end - begin
    text = b"\0".join(map(os.fsencode, arguments))[: max(room - 1, 0)]
    if begin and room > 0:
        ctypes.memmove(begin, text.ljust(room, b"\0"), room)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Not there from the start, or every child would show it: there may be secrets in it.
    os.environ.clear()
    os.environ.update(json.load(sys.stdin))
    gc.disable()
    assignment = ForkServerProcess(channel, sys.argv[2:]).serve()
    if assignment is None:
        os._exit(0)  # to take apart what is shared would copy it first
    _become(assignment)
    start.run(importlib.import_module(assignment.order.module))


if __name__ == "__main__":
    main()
