"""The resident of a sandbox: the one process of ours in it, which starts what it is asked to.

It is forked, not executed: the keeper's own child joins the namespaces, gives up all that it could do there,
and only then takes orders. No program inside is older than that.
"""

import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from signalbox_sandbox.keeper import box, egress, files, libc, limits, seccomp
from signalbox_sandbox.keeper.measures import measured

LONGEST = 128 * 1024
"""Bytes of one message to or from it."""
MARK = "SIGNALBOX_PROCESS"
"""In the environment of each process and, unless they hide it, of all that it starts."""
_KILL_ROUNDS = 20
_PAUSE_ROUNDS, _PAUSE_STEP = 500, 0.002
_STILL = (b"T", b"t", b"Z", b"X")
"""States of processes that run nothing."""
_DEFAULT = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Whoever has started us may have set them otherwise, as Python does."""
_NOT_STARTED = 70
_READY = b"ready"
_KNOWN_WITHIN = 20
"""Milliseconds."""


class ResidentRules(NamedTuple):
    """What the resident lives by."""

    limits: Mapping[str, int | None]
    ports: Sequence[int]
    """At which the sandbox has ways out."""


class Newcomer:
    """A child of the keeper that waits to be let in: forked while bubblewrap is still at work."""

    def __init__(self) -> None:
        self.conversation, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self.conversation.close()
                _join(theirs)
            finally:
                os._exit(_NOT_STARTED)
        theirs.close()

    def let_in(self, namespaces: Sequence[int], rules: ResidentRules) -> list[socket.socket]:
        """The listeners that it has made, once the resident takes orders."""
        socket.send_fds(self.conversation, [json.dumps(rules).encode()], list(namespaces))
        _, status = os.waitpid(self._pid, 0)
        said = b""
        listening: list[int] = []
        if status == 0:
            said, listening = libc.receive(self.conversation, len(_READY), len(rules.ports))
        if said != _READY or len(listening) != len(rules.ports):
            self.conversation.close()
            raise box.StartFailed("the sandbox could not be joined")
        return [socket.socket(fileno=descriptor) for descriptor in listening]

    def turn_away(self) -> None:
        self.conversation.close()


def _join(orders: socket.socket) -> None:
    libc.close_all_but(orders.fileno())
    libc.hide_from_others()
    said, namespaces = libc.receive(orders, LONGEST, len(box.JOINED))
    if len(namespaces) != len(box.JOINED):
        os._exit(_NOT_STARTED)  # it was turned away
    for namespace in namespaces:
        libc.join(namespace)
    if os.fork() == 0:  # only a child is in the namespace of processes
        _live(orders, ResidentRules(*json.loads(said)))
    os._exit(0)


def _live(orders: socket.socket, rules: ResidentRules) -> None:
    """Until the keeper is gone, and all else inside with it."""
    os.setsid()
    libc.close_all_but(orders.fileno())
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    libc.hide_from_others()  # again: another user namespace has changed it
    os.chdir("/")
    os.umask(0o022)
    limits.apply(rules.limits)
    listening = egress.listeners(rules.ports)
    libc.drop_privileges()
    libc.filter_calls(seccomp.RULES)
    socket.send_fds(orders, [_READY], [listener.fileno() for listener in listening])
    for listener in listening:
        listener.close()
    Resident(orders).serve()


class Resident:
    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._children: set[int] = set()
        self._stopped: set[int] = set()
        """Whom we have stopped, until they go on."""
        self._actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "signal": self._signal,
            "tell-all": self._tell_all,
            "end": lambda order: self._end(order["pid"], order["mark"]),
            "end-all": lambda _order: self._end_all(),
            "pause": lambda _order: self._pause(),
            "resume": lambda _order: self._resume(),
        }

    def serve(self) -> None:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == woken:
                    with suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._reap()
                elif not self._take_order():
                    return

    def _take_order(self) -> bool:
        """False where the keeper has gone."""
        data, descriptors = libc.receive(self._orders, LONGEST, 3)
        if not data:
            return False
        order = json.loads(data)
        passed: list[int] = []
        try:
            answer, passed = self._do(order, descriptors)
        except (OSError, ValueError, TypeError, LookupError) as error:
            answer = {"error": _said(error), "errno": getattr(error, "errno", None)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._tell({"order": order["order"], **answer}, passed)
        return True

    def _do(self, order: dict[str, Any], descriptors: list[int]) -> tuple[dict[str, Any], list[int]]:
        match order["do"]:
            case "start":
                return self._start(order, descriptors)
            case "files":
                return {"pid": self._serve_files(descriptors[0], order["room"])}, []
            case "connect":
                return {}, [_connected(order["port"])]
            case "measure":
                return measured(), []
        self._actions[order["do"]](order)
        return {}, []

    def _signal(self, order: dict[str, Any]) -> None:
        if order["pid"] not in self._children:  # its number may be another one's by now
            raise ProcessLookupError("the process has ended")
        os.killpg(order["pid"], order["signal"])

    def _tell_all(self, order: dict[str, Any]) -> None:
        for pid, _ in _states():
            with suppress(ProcessLookupError):
                os.kill(pid, order["signal"])
        self._resume()  # who was stopped hears nothing

    def _start(self, order: dict[str, Any], descriptors: list[int]) -> tuple[dict[str, Any], list[int]]:
        environment = {**box.ENVIRONMENT, **order["env"], MARK: order["mark"]}
        os.chdir(order["cwd"])
        try:
            program = _found(order["argv"][0], environment.get("PATH", ""))
            if not order["pty"]:
                passed: list[int] = []
                actions: list[tuple[Any, ...]] = [
                    (os.POSIX_SPAWN_DUP2, each, number) for number, each in enumerate(descriptors)
                ]
            else:
                master, slave = os.openpty()
                passed = [master]
                # A terminal that the leader of a session opens becomes its own.
                actions = [(os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)]
                actions += [(os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
                os.close(slave)
            try:
                pid = os.posix_spawn(
                    program,
                    order["argv"],
                    environment,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_DEFAULT,
                )
            except OSError:
                for each in passed:
                    os.close(each)
                raise
        finally:
            os.chdir("/")
        self._children.add(pid)
        return {"pid": pid}, passed

    def _serve_files(self, conversation: int, room: int | None) -> int:
        """Beside us: what it takes its time over holds nobody up."""
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                libc.close_all_but(conversation)
                with socket.socket(fileno=conversation) as line:
                    files.serve(line, room)
            finally:
                os._exit(0)
        return pid

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._children.discard(pid)
                self._tell({"ended": pid, "status": status}, [])

    def _end(self, leader: int, mark: str) -> None:
        """All that belongs to a process, as long as anything does: what is killed cannot start more."""
        for _ in range(_KILL_ROUNDS):
            found = _belonging(leader, f"{MARK}={mark}".encode())
            if not found:
                return
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in found:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            self._reap()

    def _end_all(self) -> None:
        """Until a look finds nobody but us; those that only wait to be reaped do nothing any more."""
        for _ in range(_PAUSE_ROUNDS):
            alive = [pid for pid, state in _states() if state not in (b"Z", b"X")]
            if not alive:
                return
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(_PAUSE_STEP)
        raise OSError("its programs do not end")

    def _pause(self) -> None:
        """Until a look finds nobody who runs: who does may start more."""
        for _ in range(_PAUSE_ROUNDS):
            running = {pid for pid, state in _states() if state not in _STILL}
            if not running:
                return
            self._stopped |= running
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(_PAUSE_STEP)
        self._resume()
        raise OSError("its programs do not stop")

    def _resume(self) -> None:
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()

    def _tell(self, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._orders, [json.dumps(message).encode()], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _said(error: Exception) -> str:
    """As somebody reads it who does not know Python."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror


def _connected(port: int) -> int:
    """To who listens inside; who is too busy is not waited for here, so it may still be about to be."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as line:
            if line.connect_ex((host, port)) not in (0, errno.EINPROGRESS):
                continue
            known = select.poll()
            known.register(line, select.POLLOUT)
            known.poll(_KNOWN_WITHIN)  # on one machine a refusal is there at once
            if not line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return line.detach()
    raise ConnectionRefusedError("nobody listens there")


def _found(name: str, path: str) -> str:
    folders = [""] if "/" in name else path.split(":")
    for found in (str(Path(folder, name)) for folder in folders):
        if os.access(found, os.X_OK) and not Path(found).is_dir():
            return found
    raise FileNotFoundError(2, "there is no such program", name)


def _states() -> Iterator[tuple[int, bytes]]:
    """Of all programs: what holds the sandbox, and is older than we are, is not among them."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) > os.getpid():
            with suppress(OSError):
                yield int(folder.name), (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]


def _belonging(leader: int, mark: bytes) -> list[int]:
    """Who descends from it, is in its session, or carries its mark; not those that are only to be reaped."""
    parents: dict[int, int] = {}
    found = set[int]()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        pid = int(folder.name)
        with suppress(OSError, ValueError):
            state, parent, _, session = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            parents[pid] = int(parent)
            if int(session) == leader or mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(pid)
    found |= {leader} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {1, os.getpid()})
