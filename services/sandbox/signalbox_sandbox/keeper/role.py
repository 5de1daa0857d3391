"""The role `keeper` of a node: imported once, and forked for each sandbox; its own death ends none."""

import fcntl
import gc
import json
import os
import re
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from signalbox_sandbox.keeper import box, egress, inside, libc, limits, wire
from signalbox_sandbox.keeper.groups import Groups, within
from signalbox_sandbox.keeper.keeper import Keeper
from signalbox_sandbox.keeper.sockets import listen

SOCKET = "role.sock"
KEEPER_SOCKET, ENDED, LABEL = "keeper.sock", "ended.json", "label.json"
HOLDS = ".holds.json"
"""Says what is limited here for all of a sandbox together."""
_SWEEP_EVERY = 10.0
_REQUEST_WITHIN = 5.0
START_WITHIN = 20
"""Seconds for a sandbox to begin; a start that hangs would have no deadline."""
_SPARE, _SPARES = ".spare-", 64
"""Folders that are made while nobody asks: on a slow disk that takes as long as all the rest of a sandbox."""
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Base(NamedTuple):
    """The folder of all sandboxes of a node, and what they are made with."""

    folder: Path
    uid: int
    """That they run under outside."""
    bwrap: str
    etc: Path


class KeeperRole:
    def __init__(self, base: Base) -> None:
        self._base = base
        self._keepers: dict[int, str] = {}
        """Our children, until they end."""
        self._groups = Groups(base.folder, base.uid)
        draft = base.folder / f"{HOLDS}.new"
        draft.write_text(json.dumps(sorted(self._groups.holds)), encoding="utf-8")
        draft.replace(base.folder / HOLDS)
        self._listener = listen(base.folder, SOCKET)
        self._spares: list[Path] = []
        self._makes_spares = True
        self._numbers = count()
        self._sweep_at = 0.0
        for left in base.folder.glob(f"{_SPARE}*"):  # by one that was killed
            for path in (*left.iterdir(), left):
                path.rmdir() if path.is_dir() else path.unlink()

    def serve(self) -> None:
        """Until it is told to end; keepers go on."""
        woken, wake = os.pipe()
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        told = False

        def on_signal(number: int, _frame: object) -> None:
            nonlocal told
            told = told or number != signal.SIGCHLD

        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        libc.call_oneself("signalbox-keeper")
        gc.collect()
        gc.freeze()  # what is there now is looked at by no keeper, and so shared by all
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while not told:
                left = max(0.0, self._sweep_at - time.monotonic())
                ready = selector.select(0 if self._makes_spares else left)
                if left == 0:
                    self._sweep()
                elif not ready and self._makes_spares:
                    self._add_spare()
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        with suppress(BlockingIOError):
                            os.read(woken, 4096)
                        self._reap()
        self._listener.close()
        self._reap()
        self._groups.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_REQUEST_WITHIN)
            try:
                request = json.loads(_line(connection))
                asked = request.get("limits", {})
                request["limits"], request["disk"] = limits.checked(asked), limits.counted(asked)
                self._prepare(request)
                groups = self._groups.make(request["id"], limits.of_groups(asked))
            except (OSError, ValueError, TypeError, KeyError) as error:
                with suppress(OSError):
                    connection.sendall(wire.encode({"error": "failed", "detail": repr(error)}))
                return
            pid = os.fork()
            if pid == 0:
                _keep(self._base, request, groups, connection)
            self._keepers[pid] = request["id"]

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if (identifier := self._keepers.pop(pid, None)) is not None:
                    self._groups.remove(identifier)

    def _sweep(self) -> None:
        """Groups whose keeper was another role's, and has ended."""
        self._sweep_at = time.monotonic() + _SWEEP_EVERY
        for identifier in self._groups.names() - set(self._keepers.values()):
            if not is_held(self._base.folder / identifier):
                self._groups.remove(identifier)

    def _prepare(self, request: dict[str, Any]) -> None:
        """A folder of its own, unless it has one."""
        if not _IDENTIFIER.fullmatch(request["id"]):
            raise ValueError("an identifier has up to 64 small letters, digits and dashes")
        folder = self._base.folder / request["id"]
        if folder.exists():
            return
        spare = self._spares.pop() if self._spares else self._make_spare()
        spare.rename(folder)
        self._makes_spares = True

    def _add_spare(self) -> None:
        """Until there are enough, or no room for one: the next that is asked for says so, or finds some."""
        try:
            self._spares.append(self._make_spare())
        except OSError as error:
            print(f"no folder made ahead: {error}", file=sys.stderr, flush=True)
            self._makes_spares = False
        else:
            self._makes_spares = len(self._spares) < _SPARES

    def _make_spare(self) -> Path:
        """All that a sandbox has on the disk before it begins, its label empty."""
        folder = self._base.folder / f"{_SPARE}{os.getpid()}-{next(self._numbers)}"
        paths = [folder, *(folder / inner for inner in ("home", "workspace", "overlay"))]
        for path in paths:
            path.mkdir(mode=0o700)
        paths.append(folder / LABEL)
        paths[-1].touch(mode=0o600)
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self._base.uid, self._base.uid, follow_symlinks=False)
        return folder


def is_held(folder: Path) -> bool:
    """Whether a keeper has this sandbox still, or already, also one that does not answer."""
    try:
        label = os.open(folder / LABEL, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(label, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(label)
    return False


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = connection.recv(wire.LONGEST_LINE)
        if not more or len(data) > wire.LONGEST_LINE:
            raise ValueError("the request has no end")
        data += more
    return data


# -- in the keeper -----------------------------------------------------------------------------------------


def _keep(base: Base, request: dict[str, Any], groups: list[Path], connection: socket.socket) -> NoReturn:
    """Never returns to what the role was doing."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        libc.close_all_but(connection.fileno())
        libc.adopt_orphans()
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(base.uid, base.uid, base.uid)
            os.setresuid(base.uid, base.uid, base.uid)
        libc.hide_from_others()
        _live(base, request, groups, connection)
    except BaseException as error:  # noqa: BLE001 - nobody above would hear of it
        print(f"no keeper for {request['id']}: {error!r}", file=sys.stderr, flush=True)
        with suppress(OSError):
            connection.sendall(wire.encode({"error": "not_started", "detail": str(error)}))
    finally:
        os._exit(0)


def _live(base: Base, request: dict[str, Any], groups: list[Path], connection: socket.socket) -> None:
    folder = base.folder / request["id"]
    label = os.open(folder / LABEL, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(label, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        connection.sendall(wire.encode({"error": "kept_already", "detail": "It has a keeper."}))
        return
    said = json.dumps({"id": request["id"], "epoch": request["epoch"]}).encode()
    os.pwrite(label, said, 0)
    os.ftruncate(label, len(said))
    (folder / ENDED).unlink(missing_ok=True)
    why = "not_started"
    try:
        why = _run(base, folder, request, groups, connection)
    finally:
        draft = folder / f"{ENDED}.new"
        draft.write_text(json.dumps({"epoch": request["epoch"], "reason": why}), encoding="utf-8")
        draft.replace(folder / ENDED)


def _run(
    base: Base, folder: Path, request: dict[str, Any], groups: list[Path], connection: socket.socket
) -> str:
    """Returns why the sandbox has ended; raises where it has not begun."""
    signal.alarm(START_WITHIN)  # ends us, and all that we have started, where that hangs
    plan = _planned(folder, request)
    with within(groups):
        started = box.Box(base.bwrap, plan, base.etc)
        # All this takes as long as bubblewrap does, and goes on beside it.
        newcomer = inside.Newcomer()
    listener = listen(folder, KEEPER_SOCKET)
    try:
        started.settle()
        namespaces = started.namespaces()
        listening = newcomer.let_in(
            namespaces, inside.ResidentRules(request["limits"], egress.ports_of(request))
        )
    except BaseException:
        newcomer.turn_away()
        started.end()
        raise
    for descriptor in namespaces:
        os.close(descriptor)
    signal.alarm(0)
    keeper = Keeper(started, newcomer.conversation, listener, listening, plan, request)
    with connection, suppress(OSError):  # who has asked finds it by its label, if not by this answer
        connection.sendall(wire.encode({"pid": os.getpid()}))
    return keeper.run()


def _planned(folder: Path, request: dict[str, Any]) -> box.Plan:
    """With a lock on what it shares with others, as long as we live: so nobody removes it."""
    lower, layer = (Path(request[name]) if request.get(name) else None for name in ("lower", "layer"))
    for held in (lower, layer):
        if held is not None:
            descriptor = os.open(held, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    builds = bool(request.get("builds"))
    own = [box.HISTORY, "overlay-git"] if lower is not None else []
    for name in (*own, box.BUILT) if builds else own:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return box.Plan(folder, lower, layer, builds)
