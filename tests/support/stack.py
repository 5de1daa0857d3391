"""A whole native stack, driven through the command line as its users do."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from signalbox_cli.stack import leftovers, sandboxes
from signalbox_cli.stack.home import Home
from tests.support.bounds import AS_ENVIRONMENT
from tests.support.run import new_folder

CLI = [sys.executable, "-m", "signalbox_cli.main"]
QUICK = {
    "SIGNALBOX_ARGON2_MEMORY_KIB": "64",
    "SIGNALBOX_ARGON2_TIME": "1",
    "SIGNALBOX_RETRY_BASE": "0.05",
    **AS_ENVIRONMENT,
}


@dataclass
class Stack:
    path: Path
    user: int | None = None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return Home(self.path.resolve())

    @property
    def url(self) -> str:
        return self.home.url_file.read_text(encoding="utf-8").strip()

    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SIGNALBOX_")}
        return inherited | QUICK | {"SIGNALBOX_HOME": str(self.path), "SIGNALBOX_PORT": "0"} | self.env

    def run(self, *arguments: str, within: float = 90.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*CLI, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            cwd="/",
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user is not None else None,
        )

    def up(self) -> None:
        done = self.run("up", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> "subprocess.CompletedProcess[str]":
        return self.run("down")

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pid(self, name: str) -> int:
        state = self.home.read_state()
        assert state is not None
        children = [*state["services"], *state["servers"], state["forkserver"]]
        return int(next(c["pid"] for c in children if c["name"] == name))

    def processes(self) -> list[psutil.Process]:
        return leftovers.find(self.home)

    async def become_admin(self) -> None:
        """From now on, commands speak with a token of the first admin."""
        password = self.home.admin_password_file.read_text(encoding="utf-8")
        async with self.client() as http:
            body = {"username": "admin", "password": password}
            session = (await http.post("/api/v1/auth/login", json=body)).json()
            headers = {"Authorization": f"Bearer {session['accessToken']}"}
            made = await http.post("/api/v1/auth/tokens", json={"name": "commands"}, headers=headers)
            self.env["SIGNALBOX_TOKEN"] = made.json()["token"]

    def remove(self) -> None:
        """All that it has on the disk."""
        shutil.rmtree(sandboxes.location(self.home), ignore_errors=True)
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def foreground(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*CLI, "up"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )

    async def wait_ready(self, within: float = 60.0) -> None:
        async with asyncio.timeout(within):
            while (self.home.read_state() or {}).get("phase") != "ready":
                await asyncio.sleep(0.05)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30)


def new_home() -> Path:
    """In a folder that only its owner can enter."""
    return new_folder("e2e") / "home"
