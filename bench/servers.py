"""What is measured: a native stack in a home of its own, and the baseline beside it."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from signalbox_cli.provision.credentials import service_environment
from signalbox_cli.stack.home import MARK, Home
from signalbox_cli.stack.program import listening_socket

ROOT = Path(__file__).resolve().parent.parent
_SERVERS = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "SECRET_KEY")
START_LIMIT = 100.0


def clean_environment(home: Path) -> dict[str, str]:
    """Ours without any setting of another installation."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("SIGNALBOX_") and k not in _SERVERS}
    return ours | {"SIGNALBOX_HOME": str(home), "SIGNALBOX_PORT": "0"}


@dataclass(frozen=True)
class Memory:
    """Of services and servers together, in MB; the proportional figure counts shared pages once."""

    resident: float
    proportional: float | None
    processes: int


class Stack:
    """One installation, started and stopped by its own command line."""

    def __init__(self, home: Path, tree: Path = ROOT) -> None:
        self.home = Home(home.resolve())
        self._tree = tree

    def up(self, **settings: str) -> float:
        """Seconds until `signalbox up --detach` says that all is ready."""
        began = time.monotonic()
        # The mark makes a supervisor findable from its first moment on, should we be stopped just then.
        self._signalbox("up", "--detach", settings={MARK: self.home.mark} | settings)
        return time.monotonic() - began

    def down(self) -> None:
        self._signalbox("down")

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    @property
    def url(self) -> str:
        return self.home.url_file.read_text(encoding="utf-8").strip()

    def memory(self) -> Memory:
        """All services and servers with their children, which PostgreSQL has many of."""
        found: dict[int, psutil.Process] = {}
        state = self._status()
        forkserver = [state["forkserver"]] if state.get("forkserver") else []  # others have none
        for row in (*state["services"], *state["servers"], *forkserver):
            parent = psutil.Process(row["pid"])
            found |= {process.pid: process for process in (parent, *parent.children(recursive=True))}
        resident, proportional = 0, 0
        with_pss = True
        for process in found.values():
            with suppress(psutil.NoSuchProcess):
                resident += process.memory_info().rss
                try:
                    proportional += process.memory_full_info().pss
                except (psutil.AccessDenied, AttributeError):
                    with_pss = False
        return Memory(resident / 1e6, proportional / 1e6 if with_pss else None, len(found))

    def pids(self, service: str) -> list[int]:
        """Of all processes of a service."""
        rows = self._status()["services"]
        return [row["pid"] for row in rows if row["name"].partition("-")[0] == service]

    def handled(self, service: str, subject: str) -> tuple[float, int]:
        """Seconds that a service says it worked on such messages, and how many they were."""
        row = next(row for row in self._status()["services"] if row["name"] == service)
        listening = psutil.Process(row["pid"]).net_connections("tcp4")
        port = next(c.laddr.port for c in listening if c.status == psutil.CONN_LISTEN)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        found = {name: float(value) for name, _, value in lines}
        name, labels = "signalbox_message_seconds", f'{{subject="{subject}"}}'
        return found.get(f"{name}_sum{labels}", 0.0), int(found.get(f"{name}_count{labels}", 0))

    def _status(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._signalbox("status", "--json"))
        return state

    def _signalbox(self, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [str(self._tree / ".venv/bin/signalbox"), *arguments],
            env=clean_environment(self.home.path) | dict(settings or {}),
            cwd=self._tree,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_LIMIT,
        )
        if done.returncode:
            raise RuntimeError(f"signalbox {arguments[0]}: {(done.stderr or done.stdout).strip()[-1500:]}")
        return done.stdout


@contextmanager
def stack() -> Iterator[Stack]:
    """A stack that is not started yet; whatever runs of it at the end is stopped and forgotten."""
    folder = Path(tempfile.mkdtemp(prefix="signalbox-bench-"))
    made = Stack(folder)
    try:
        yield made
    finally:
        try:
            made.down()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def baseline(of: Stack) -> Iterator[int]:
    """The port of a baseline process on the stack's PostgreSQL, under the auth service's role."""
    listener = listening_socket("127.0.0.1", 0)
    log = of.home.logs / "baseline.log"
    environment = clean_environment(of.home.path) | service_environment(of.home.credentials, "auth")
    environment["SIGNALBOX_SECRETS_DIR"] = str(of.home.secrets)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.baseline", str(listener.fileno())],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(),),
        )
    try:
        yield int(listener.getsockname()[1])
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.close()


class Person:
    """A user of the stack, registered and logged in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = f"bench-{secrets.token_hex(6)}"
        self._password = secrets.token_urlsafe(18)
        self._post(
            "/api/v1/auth/register",
            {
                "username": self.name,
                "email": f"{self.name}@example.com",
                "password": self._password,
            },
        )

    @property
    def login(self) -> dict[str, str]:
        return {"username": self.name, "password": self._password}

    def token(self) -> str:
        """A fresh one, since they do not live long."""
        session = self._post("/api/v1/auth/login", self.login)
        return str(session["accessToken"])

    def create_project(self) -> str:
        project = self._post("/api/v1/projects", {"name": f"Bench {self.name}"}, token=self.token())
        return str(project["id"])

    def _post(self, path: str, body: dict[str, str], *, token: str | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = httpx.post(self._url + path, json=body, headers=headers, timeout=15)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
