"""The git service with a remote over HTTP, and somebody who has repositories there."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_git.app import build
from signalbox_git.settings import GitSettings
from tests.support import services
from tests.support.installation import Http, Installation
from tests.support.processes import Running
from tests.support.remotes import TOKEN, HttpRemote

REPOSITORIES = "/api/v1/repositories"
LOOPBACK = "127.0.0.0/8"


@dataclass
class GitScene:
    installation: Installation
    folder: Path
    remote: HttpRemote
    http: Http
    headers: dict[str, str]
    project: str

    def settings(self, **changes: Any) -> GitSettings:
        return settings_in(self.installation, self.folder, **changes)

    @asynccontextmanager
    async def service(self, **changes: Any) -> AsyncIterator[Service]:
        async with running(build(self.settings(**changes))) as service:
            yield service

    def process(self, log: Path) -> Running:
        """The service in a process of its own, which may be killed."""
        found = services.process(self.installation, "git", log)
        settings = self.settings()
        found.program.env.update(
            {
                "SIGNALBOX_GIT_ROOT": str(settings.git_root),
                "SIGNALBOX_MIRRORS": str(settings.mirrors),
                "SIGNALBOX_TREES": str(settings.trees),
                "SIGNALBOX_CHANGES": str(settings.changes),
                "SIGNALBOX_PRIVATE_HOSTS": LOOPBACK,
                "SIGNALBOX_DATA_LISTEN": str(settings.data_listen),
            }
        )
        return found

    @property
    def mirrors(self) -> list[Path]:
        return [path for path in (self.folder / "mirrors").glob("*/*") if not path.name.startswith(".")]

    # -- what a person does --------------------------------------------------------------------------------

    async def ask(self, method: str, path: str = "", *, status: int = 200, **more: Any) -> Any:
        """Below the repositories; `headers` are somebody else's."""
        headers = more.pop("headers", self.headers)
        answer = await self.http.request(method, f"{REPOSITORIES}{path}", headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    async def add(self, name: str = "app.git", *, status: int = 201, **body: Any) -> Any:
        """A new remote of that name, with its token."""
        if "url" not in body:
            if not (self.remote.folder / name).exists():
                self.remote.new(name)
            body |= {"url": self.remote.url(name)}
        given = {"projectId": self.project, "credential": {"token": TOKEN}}
        return await self.ask("POST", status=status, json=given | body)

    async def ready(self, repository: str, status: str = "ready") -> Any:
        async def so() -> Any:
            found = await self.ask("GET", f"/{repository}")
            assert found["status"] == status, found
            return found

        return await eventually(so, what=f"the repository is {status}")

    async def facts(self, what: str) -> list[Any]:
        """What was told of it, in its order."""
        await self.installation.all_told("git")
        messages = await self.installation.messages("EVENTS", f"evt.{self.project}.git.{what}")
        return [json.loads(message.data) for message in messages]


def settings_in(installation: Installation, folder: Path, **changes: Any) -> GitSettings:
    given: dict[str, Any] = {
        "git_root": folder / "repositories",
        "mirrors": folder / "mirrors",
        "trees": folder / "trees",
        "changes": folder / "changes",
        "private_hosts": LOOPBACK,
        "data_listen": f"unix:{folder / uuid.uuid4().hex[:8]}.sock",
    }
    return installation.settings(GitSettings, **(given | changes))


@asynccontextmanager
async def running_git(installation: Installation, folder: Path) -> AsyncIterator[Path]:
    """Its service, and the folder below which repositories lie."""
    settings = settings_in(installation, folder)
    async with running(build(settings)):
        yield settings.git_root


@asynccontextmanager
async def git_scene(installation: Installation, folder: Path) -> AsyncIterator[GitScene]:
    with ExitStack() as stack:
        remote = stack.enter_context(HttpRemote.serving(folder / "served"))
        async with installation.running_auth(), installation.gateway() as http:
            headers = await http.sign_up()
            project = await http.project(headers)
            yield GitScene(installation, folder, remote, http, headers, project)
