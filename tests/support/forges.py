"""Real forges on loopback, as `make tools` has built them: Gitea, and a simulator of GitHub."""

import asyncio
import base64
import os
import pwd
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import httpx

from signalbox_cli.stack.program import free_port
from signalbox_common.addresses import PrivateHosts
from signalbox_common.testing import eventually
from signalbox_git.forges.base import Forge
from signalbox_git.forges.gitea import Gitea
from signalbox_git.forges.github import GitHub
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential
from tests.support.checkouts import git
from tests.support.forge_simulator import OWNER, ForgeSimulator
from tests.support.remotes import TOKEN, add_commit

TOOLS = Path(__file__).parents[2] / ".tools"
REACH = Reach(Path("/nonexistent"), PrivateHosts.parse("127.0.0.0/8"))
_UNPRIVILEGED = "nobody"


class ForgeOfTest(Protocol):
    """One repository there, and what other people do to it."""

    @property
    def url(self) -> str:
        """Of its API."""

    def ours(self, token: str | None = None) -> Forge: ...

    async def branch(self, name: str) -> str:
        """With a commit of its own, which is answered."""

    async def merge(self, number: int, *, squash: bool) -> None:
        """And removes the branch."""

    async def reopen(self, number: int) -> None: ...


@dataclass(frozen=True)
class SimulatorOfTest:
    simulator: ForgeSimulator
    name: str

    @property
    def url(self) -> str:
        return self.simulator.url

    @staticmethod
    def make(simulator: ForgeSimulator) -> "SimulatorOfTest":
        name = uuid.uuid4().hex[:8]
        simulator.remote.new(f"{OWNER}/{name}.git")
        return SimulatorOfTest(simulator, name)

    def ours(self, token: str | None = None) -> Forge:
        return GitHub(OWNER, self.name, Credential(token or TOKEN), REACH, base=self.url)

    async def branch(self, name: str) -> str:
        folder = self.simulator.remote.folder / OWNER / f"{self.name}.git"
        git(folder, "update-ref", f"refs/heads/{name}", "refs/heads/main")
        return add_commit(folder, {"new.txt": f"{name}\n"}, branch=name)

    async def merge(self, number: int, *, squash: bool) -> None:
        self.simulator.merge(self.name, number, squash=squash)

    async def reopen(self, number: int) -> None:
        self.simulator.pulls[self.name][number - 1]["state"] = "open"


@dataclass(frozen=True)
class ServedForge:
    """One that is asked over HTTP for all of it."""

    url: str
    owner: str
    name: str
    token: str
    is_gitea: bool

    def ours(self, token: str | None = None) -> Forge:
        kind = Gitea if self.is_gitea else GitHub
        return kind(self.owner, self.name, Credential(token or self.token), REACH, base=self.url)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
            answer = await client.request(method, f"{self.url}{path}", json=body)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @property
    def _path(self) -> str:
        return f"/repos/{self.owner}/{self.name}"

    async def branch(self, name: str) -> str:
        content = base64.b64encode(f"{name}\n".encode()).decode()
        body = {"message": "New", "content": content, "branch": name}
        if self.is_gitea:
            made = await self.ask(
                "POST", f"{self._path}/contents/{name}.txt", body | {"branch": "main", "new_branch": name}
            )
        else:
            main = await self.ask("GET", f"{self._path}/git/ref/heads/main")
            ref = {"ref": f"refs/heads/{name}", "sha": main["object"]["sha"]}
            await self.ask("POST", f"{self._path}/git/refs", ref)
            made = await self.ask("PUT", f"{self._path}/contents/{name}.txt", body)
        commit: str = made["commit"]["sha"]
        return commit

    async def merge(self, number: int, *, squash: bool) -> None:
        pull = await self.ask("GET", f"{self._path}/pulls/{number}")
        style = "squash" if squash else "merge"
        if self.is_gitea:

            async def mergeable() -> bool:
                return bool((await self.ask("GET", f"{self._path}/pulls/{number}"))["mergeable"])

            await eventually(mergeable, what="it can be merged")
            body = {"Do": style, "delete_branch_after_merge": True}
            await self.ask("POST", f"{self._path}/pulls/{number}/merge", body)
            return
        await self.ask("PUT", f"{self._path}/pulls/{number}/merge", {"merge_method": style})
        await self.ask("DELETE", f"{self._path}/git/refs/heads/{pull['head']['ref']}")

    async def reopen(self, number: int) -> None:
        await self.ask("PATCH", f"{self._path}/pulls/{number}", {"state": "open"})


@asynccontextmanager
async def _running(
    url: str, log: Path, *command: str, env: dict[str, str] | None = None, user: str | None = None
) -> AsyncIterator[None]:
    """As long as it is needed; answers when it answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # as another user, which the loop's own cannot
            command, env=env, user=user, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    async def answers() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.get(url)).status_code < 500
            except httpx.TransportError:
                return False

    try:
        await eventually(answers, within=60, what=f"{command[0]} answers")
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def gitea() -> AsyncIterator["GiteaServer"]:
    """With one person; it does not run as root, and so not below a folder of pytest, which are its user's."""
    with TemporaryDirectory(prefix="signalbox-gitea-") as above:
        Path(above).chmod(0o711)
        async with _gitea_in(Path(above) / "home") as found:
            yield found


@asynccontextmanager
async def _gitea_in(folder: Path) -> AsyncIterator["GiteaServer"]:
    programs = sorted((TOOLS / "gitea").glob("gitea-v*"))
    assert programs, "Gitea is not built: run `make tools`"
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    static = folder / "static"
    static.mkdir(parents=True)
    for each in ("options", "templates", "public"):
        shutil.copytree(TOOLS / "gitea" / each, static / each)
    program = folder / "gitea"
    shutil.copyfile(programs[-1], program)
    program.chmod(0o755)
    port = free_port()
    (folder / "app.ini").write_text(_CONFIGURATION.format(folder=folder, port=port, user=name))
    if user is not None:
        uid, gid = pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, gid)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "USER": name}
    base = (str(program), "--config", str(folder / "app.ini"), "--work-path", str(folder))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            (*base, *arguments), env=env, user=user, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    run("migrate")
    created = ("--username", "alice", "--password", "a-Password-1", "--email", "alice@example.com")
    run("admin", "user", "create", "--admin", "--must-change-password=false", *created)
    token = run(
        *("admin", "user", "generate-access-token", "--raw", "--username", "alice", "--scopes", "all")
    )
    url = f"http://127.0.0.1:{port}"
    async with _running(url, folder / "gitea.log", *base, "web", env=env, user=user):
        yield GiteaServer(url, token, folder / "gitea.log")


@dataclass
class GiteaServer:
    url: str
    token: str
    log: Path

    async def repository(self) -> ServedForge:
        """A new one with one commit."""
        name = uuid.uuid4().hex[:8]
        made = ServedForge(f"{self.url}/api/v1", "alice", name, self.token, is_gitea=True)
        body = {"name": name, "auto_init": True, "default_branch": "main"}
        await made.ask("POST", "/user/repos", body)
        return made

    def remote(self, served: ServedForge) -> str:
        return f"{self.url}/{served.owner}/{served.name}.git"


@asynccontextmanager
async def github_simulator(folder: Path) -> AsyncIterator[ServedForge]:
    """Stateful, without git: it takes pull requests of branches that are not there."""
    program = TOOLS / "github" / "node_modules" / ".bin" / "emulate"
    assert program.exists(), "the simulator of GitHub is not installed: run `make tools`"
    seed = folder / "seed.yaml"
    seed.write_text(_SEED)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("--service", "github", "--port", str(port), "--seed", str(seed))
    async with _running(url, folder / "emulate.log", str(program), *arguments):
        yield ServedForge(url, "octocat", "app", "test_token", is_gitea=False)


_SEED = """
tokens:
  test_token:
    login: octocat
    scopes: [repo]
github:
  users:
    - {login: octocat, name: The Octocat, email: octocat@example.com}
  repos:
    - {owner: octocat, name: app, auto_init: true}
"""

_CONFIGURATION = """
RUN_MODE = prod
RUN_USER = {user}
WORK_PATH = {folder}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {folder}/static
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 20000
[repository]
ROOT = {folder}/repositories
[security]
INSTALL_LOCK = true
[service]
DISABLE_REGISTRATION = true
[log]
MODE = console
LEVEL = warn
[session]
PROVIDER = memory
[webhook]
DELIVER_TIMEOUT = 1
"""
