"""Remotes as the world has them: smart HTTP with a password, and ssh; both on loopback."""

import asyncio
import base64
import gzip
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from signalbox_cli.stack.program import free_port
from signalbox_common.testing import eventually
from tests.support.checkouts import git

TOKEN = "canary-token-4f1d9a"
USER = "x-access-token"
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
Behaviour = Callable[["_Handler"], bool]
"""Answers itself, and says so."""


def new_repository(folder: Path, files: dict[str, str] | None = None, *, branch: str = "main") -> Path:
    """A bare one with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--bare", "-b", branch)
    git(folder, "config", "http.receivepack", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    add_commit(folder, files or {"README.md": "hello\n"}, branch=branch)
    return folder


def add_commit(
    folder: Path, files: dict[str, str], *, branch: str = "main", message: str = "a commit"
) -> str:
    """On top of the branch, without a work tree."""
    index = {"GIT_INDEX_FILE": str(folder / "index-of-test")}
    (folder / "index-of-test").unlink(missing_ok=True)
    parents = []
    if git(folder, "for-each-ref", f"refs/heads/{branch}"):
        git(folder, "read-tree", branch, env=index)
        parents = ["-p", f"refs/heads/{branch}"]
    for name, content in files.items():
        blob = git(folder, "hash-object", "-w", "--stdin", given=content.encode()).strip()
        git(folder, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=index)
    tree = git(folder, "write-tree", env=index).strip()
    commit = git(folder, "commit-tree", tree, *parents, "-m", message).strip()
    git(folder, "update-ref", f"refs/heads/{branch}", commit)
    return commit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self._body())

    do_PATCH = do_POST  # noqa: N815 - as http.server calls it

    def log_message(self, *_arguments: object) -> None:
        """Nothing is said on the terminal."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, body: bytes) -> None:
        self.body = body
        remote = self.server.remote
        remote.requests.append(f"{self.command} {self.path}")
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        remote.packs += b"command=fetch" in (gzip.decompress(body) if is_packed else body)
        remote.shown.append(self.headers.get("Authorization"))
        if any(behave(self) for behave in list(remote.behaviours)):
            return
        if remote.token is not None and self.headers.get("Authorization") != basic(remote.token):
            self.answer(401, WWW_Authenticate='Basic realm="test"')
            return
        self._cgi(body)

    def _cgi(self, body: bytes) -> None:
        url = urlsplit(self.path)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.remote.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "test",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        ran = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
        for behave in list(self.server.remote.afterwards):
            behave(self)
        headers = {name: value for name, value in lines if name != "Status"}
        status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
        self.answer(status, content, **headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    remote: "HttpRemote"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no errors here."""


def answering(status: int, name: str, handler: _Handler, **headers: str) -> bool:
    """Instead of that repository."""
    if name in handler.path:
        handler.answer(status, b"", **headers)
    return name in handler.path


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{token}".encode()).decode()


@dataclass
class HttpRemote:
    """Serves every repository in its folder."""

    folder: Path
    port: int = 0
    token: str | None = TOKEN
    requests: list[str] = field(default_factory=list)
    packs: int = 0
    """Rounds in which what is in a pack was asked for."""
    shown: list[str | None] = field(default_factory=list)
    """What came as authorization."""
    behaviours: list[Behaviour] = field(default_factory=list)
    afterwards: list[Behaviour] = field(default_factory=list)
    """When git has done what was asked, and nobody has heard of it yet."""

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    def new(self, name: str, files: dict[str, str] | None = None) -> Path:
        return new_repository(self.folder / name, files)

    @staticmethod
    @contextmanager
    def serving(folder: Path) -> Iterator["HttpRemote"]:
        remote = HttpRemote(folder)
        server = _Server(("127.0.0.1", 0), _Handler)
        server.remote, remote.port = remote, server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield remote
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class SshRemote:
    """One user's, who may only ask git."""

    folder: Path
    port: int
    private_key: str
    host_key: Path

    def url(self, name: str) -> str:
        user = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
        return f"ssh://{user}@127.0.0.1:{self.port}{self.folder}/{name}"

    @staticmethod
    @asynccontextmanager
    async def serving(folder: Path) -> AsyncIterator["SshRemote"]:
        assert SSHD is not None
        place = folder / "sshd"
        place.mkdir(mode=0o700)
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        Path("/run/sshd").mkdir(exist_ok=True)
        (place / "authorized").write_bytes((place / "user.pub").read_bytes())
        remote = SshRemote(folder, free_port(), (place / "user").read_text(), place / "host")
        process = await remote.start()
        try:
            yield remote
        finally:
            process.terminate()
            await process.wait()

    async def start(self) -> asyncio.subprocess.Process:
        assert SSHD is not None
        place = self.folder / "sshd"
        options = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": place / "authorized",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "PermitRootLogin": "prohibit-password",
        }
        process = await asyncio.create_subprocess_exec(
            *(SSHD, "-D", "-e", "-f", "/dev/null"),
            *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def listens() -> bool:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await eventually(listens, what="sshd listens")
        return process


@contextmanager
def held(remote: HttpRemote, part: str) -> Iterator[threading.Event]:
    """It does not answer what has this in its address, until it is let go; whether anybody has come."""
    came, released = threading.Event(), threading.Event()

    def wait(handler: Any) -> bool:
        if part in handler.path:
            came.set()
            released.wait(30)
        return False

    remote.behaviours.append(wait)
    try:
        yield came
    finally:
        released.set()
        remote.behaviours.remove(wait)


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)
