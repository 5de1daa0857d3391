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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from bench import processes
from bench.cost import Meter
from signalbox_cli.provision.credentials import service_environment
from signalbox_cli.stack.home import MARK, Home
from signalbox_cli.stack.program import listening_socket

ROOT = Path(__file__).resolve().parent.parent
_SERVERS = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "SECRET_KEY")
START_LIMIT = 180.0
_CROWDS = {
    "SIGNALBOX_RATE_LIMIT_ANONYMOUS": "100000000",
    "SIGNALBOX_RATE_LIMIT_USER": "100000000",
    "SIGNALBOX_CONNECTIONS_PER_ADDRESS": "1000000",
    "SIGNALBOX_REQUESTS_WAITING": "1000000",
    "SIGNALBOX_SHED_LAG": "0",
    "SIGNALBOX_ARGON2_REGISTER_QUEUE": "1000",
}
"""Everybody here comes from one address, and more often than people do; they are counted all the same."""
IDLE_SECONDS = 5.0
"""How long to look at what a baseline takes while nobody asks."""


def clean_environment(home: Path) -> dict[str, str]:
    """Ours without any setting of another installation."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("SIGNALBOX_") and k not in _SERVERS}
    return ours | _CROWDS | {"SIGNALBOX_HOME": str(home), "SIGNALBOX_PORT": "0"}


class Stack:
    """One installation, started and stopped by its own command line."""

    def __init__(self, home: Path, tree: Path = ROOT) -> None:
        self.home = Home(home.resolve())
        self.tree = tree
        self.url = ""

    def up(self, **settings: str) -> float:
        """Seconds until `signalbox up --detach` says that all is ready."""
        began = time.monotonic()
        # The mark makes a supervisor findable from its first moment on, should we be stopped just then.
        self._signalbox("up", "--detach", settings={MARK: self.home.mark} | settings)
        took = time.monotonic() - began
        self.url = self._status()["url"]
        return took

    def down(self) -> None:
        self._signalbox("down")

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def programs(self) -> dict[int, str]:
        """Who is who among its processes, as long as none is started again."""
        state = self._status()
        forkserver = [state["forkserver"]] if state.get("forkserver") else []  # older ones have none
        rows = (*state["services"], *state["servers"], *forkserver)
        names = {row["pid"]: row["name"].partition("-")[0] for row in rows}
        return names | {state["supervisor"]: "supervisor"}

    def memory(self) -> processes.Memory:
        return processes.memory(self.programs())

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
            [str(self.tree / ".venv/bin/signalbox"), *arguments],
            env=clean_environment(self.home.path) | dict(settings or {}),
            cwd=self.tree,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_LIMIT,
        )
        if done.returncode:
            raise RuntimeError(f"signalbox {arguments[0]}: {(done.stderr or done.stdout).strip()[-1500:]}")
        return done.stdout


@contextmanager
def stack(tree: Path = ROOT) -> Iterator[Stack]:
    """A stack that is not started yet; whatever runs of it at the end is stopped and forgotten."""
    folder = Path(tempfile.mkdtemp(prefix="signalbox-bench-"))
    made = Stack(folder, tree)
    try:
        yield made
    finally:
        try:
            made.down()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Baseline:
    """A running one; its PostgreSQL is the stack's."""

    port: int
    pid: int

    def meter(self, of: "Stack") -> Meter:
        """Counts its process and PostgreSQL, and nothing else of the stack."""
        postgres = {pid: name for pid, name in of.programs().items() if name == "postgres"}
        return Meter.of({self.pid: "baseline"} | postgres, seconds=IDLE_SECONDS)


@contextmanager
def baseline(of: Stack) -> Iterator[Baseline]:
    """A process of its own on the stack's PostgreSQL, under the auth service's role."""
    listener = listening_socket("127.0.0.1", 0)
    log = of.home.logs / "baseline.log"
    environment = clean_environment(of.home.path) | service_environment(of.home.credentials, "auth")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.baseline", str(listener.fileno()), of.url],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(),),
        )
    try:
        port = int(listener.getsockname()[1])
        httpx.get(f"http://127.0.0.1:{port}/", timeout=START_LIMIT)  # answered when it has started
        yield Baseline(port, process.pid)
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
        self._names = 0
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

    def fresh_name(self) -> str:
        self._names += 1
        return f"{self.name} {self._names}"

    def token(self) -> str:
        """A fresh one, since they do not live long."""
        session = self._post("/api/v1/auth/login", self.login)
        return str(session["accessToken"])

    def create_project(self) -> str:
        project = self._post("/api/v1/projects", {"name": f"Bench {self.name}"}, token=self.token())
        return str(project["id"])

    def _post(self, path: str, body: dict[str, str], *, token: str | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = httpx.post(self._url + path, json=body, headers=headers, timeout=30)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
