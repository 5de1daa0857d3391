"""The role that keeps sandboxes, in the native stack, and the end of what it keeps."""

import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from signalbox_cli.stack.home import Home
from signalbox_cli.stack.program import Program

NAME, EGRESS = "keeper", "egress"
MODULES = {NAME: "signalbox_sandbox.keeper", EGRESS: "signalbox_sandbox.egress"}
ELSEWHERE = Path("/var/lib/signalbox")
"""Where they are kept for a home that the user of sandboxes cannot enter."""
STOPPED = "node_stopped"
PATIENCE = 10.0
_TAKEN = ("PATH", "LANG", "SIGNALBOX_SANDBOX_UID")
"""Of our environment, all that it has: every keeper would carry the rest along."""
_SETTINGS_OF_EGRESS = ("SIGNALBOX_PRIVATE_HOSTS",)
_ROLE, _EGRESS, _KEEPER, _LABEL = "role.sock", "egress-control.sock", "keeper.sock", "label.json"


def folder(home: Home) -> Path:
    """Of all sandboxes of this home."""
    return location(home) / "sandboxes"


def trees(home: Home) -> Path:
    """Of the checkouts that they begin with."""
    return location(home) / "trees"


def templates(home: Home) -> Path:
    """Of what was built for them."""
    return location(home) / "templates"


def location(home: Home) -> Path:
    """The home itself, unless that is closed to another user: run by root, sandboxes are one's."""
    own = home.path / "sandboxes"
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in own.parents if parent.exists()):
        return home.path
    return ELSEWHERE / hashlib.sha256(str(home.path).encode()).hexdigest()[:16]


def make(home: Home) -> Path:
    found = folder(home)
    found.mkdir(parents=True, exist_ok=True)
    for each in (ELSEWHERE, found.parent, found) if found.parent.parent == ELSEWHERE else (found,):
        each.chmod(0o711)  # whatever our umask says
    return found


def programs(home: Home, own_addresses: Iterable[str]) -> list[Program]:
    """They end with us, and what is kept goes on: so they have no mark of ours, by which leftovers are ended.

    `own_addresses` are those of this stack, which no sandbox reaches.
    """
    own = {"SIGNALBOX_OWN_ADDRESSES": ",".join(own_addresses)}
    return [
        _program(home, NAME, _ROLE, {}),
        _program(home, EGRESS, _EGRESS, own | _from_environment(_SETTINGS_OF_EGRESS)),
    ]


def _program(home: Home, name: str, listens: str, settings: dict[str, str]) -> Program:
    place = make(home)

    async def ready() -> bool:
        with suppress(OSError), _connected(place, listens):
            return True
        return False

    return Program(
        name=name,
        kind="service",
        ready=ready,
        argv=[sys.executable, "-m", MODULES[name], "--with-parent"],
        env=_from_environment(_TAKEN) | settings | {"SIGNALBOX_SANDBOXES": str(place)},
        bare=True,
    )


def _from_environment(names: Iterable[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def end_all(home: Home) -> int:
    """Every sandbox that runs there; their files stay."""
    ending = []
    for path in folder(home).glob(f"[!.]*/{_KEEPER}"):
        with suppress(OSError), _connected(path.parent, _KEEPER) as keeper:
            keeper.sendall(json.dumps({"do": "end", "reason": STOPPED}).encode() + b"\n")
            keeper.recv(1024)
            ending.append(path.with_name(_LABEL))
    deadline = time.monotonic() + PATIENCE
    for label in ending:
        while _is_held(label) and time.monotonic() < deadline:
            time.sleep(0.02)
    return len(ending)


def _connected(place: Path, name: str) -> socket.socket:
    """By a path that is short, however long the one of the folder is."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    try:
        at = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{at}/{name}")
        finally:
            os.close(at)
    except OSError:
        connection.close()
        raise
    return connection


def _is_held(label: Path) -> bool:
    """Whether a keeper is still there."""
    try:
        with label.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
