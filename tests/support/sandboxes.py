"""A node with its service, and somebody who has sandboxes on it."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_sandbox.app import build
from signalbox_sandbox.settings import SandboxSettings
from tests.support import services
from tests.support.installation import Http, Installation
from tests.support.node import Node
from tests.support.processes import Running

SANDBOXES = "/api/v1/sandboxes"


@dataclass
class SandboxScene:
    installation: Installation
    node: Node
    http: Http
    address: str
    headers: dict[str, str]
    project: str

    # -- what a person does --------------------------------------------------------------------------------

    async def with_api_token(self) -> None:
        """For what takes longer than a session's token lasts."""
        body = {"name": "a long test"}
        made = await self.http.post("/api/v1/auth/tokens", json=body, headers=self.headers)
        assert made.status_code == 201, made.text
        self.headers = {"Authorization": f"Bearer {made.json()['token']}"}

    async def create(self, *, status: int = 201, headers: dict[str, str] | None = None, **body: Any) -> Any:
        body = {"projectId": self.project} | body
        made = await self.http.post(SANDBOXES, json=body, headers=headers or self.headers)
        assert made.status_code == status, made.text
        return made.json()

    async def get(self, sandbox: str) -> Any:
        found = await self.http.get(f"{SANDBOXES}/{sandbox}", headers=self.headers)
        assert found.status_code == 200, found.text
        return found.json()

    async def change(self, sandbox: str, how: str, *, status: int = 200, **body: Any) -> Any:
        """`pause`, `resume`, `timeout`, `network` or `destroy`."""
        path = f"{SANDBOXES}/{sandbox}" + (f"/{how}" if how != "destroy" else "")
        method = {"destroy": "DELETE", "timeout": "PUT", "network": "PUT"}.get(how, "POST")
        answer = await self.http.request(method, path, headers=self.headers, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def exec(self, sandbox: str, command: str, *, status: int = 200, **more: Any) -> Any:
        answer = await self.http.post(
            f"{SANDBOXES}/{sandbox}/exec", json={"command": command, **more}, headers=self.headers
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def said(self, sandbox: str, command: str, **more: Any) -> str:
        """What a program says that succeeds."""
        result = await self.exec(sandbox, command, **more)
        assert result["exitCode"] == 0, result
        out: str = result["stdout"]
        return out

    async def until(self, sandbox: str, status: str, *, within: float = 30.0) -> Any:
        async def so() -> Any:
            found = await self.get(sandbox)
            assert found["status"] == status, found
            return found

        return await eventually(so, within=within, what=f"it is {status}")

    # -- what is there ---------------------------------------------------------------------------------------

    async def nothing_is_left(self, sandbox: str | None = None) -> None:
        """On the node: neither a process nor a file."""

        async def gone() -> bool:
            if sandbox is not None:
                return not list(self.node.folder.glob(f"*{sandbox}*"))
            left = [process.cmdline() for process in self.node.processes()]
            left += [[str(path) for path in folder.iterdir()] for folder in self.folders()]
            assert left == [], left
            return True

        await eventually(gone, what="nothing is left on the node")

    def folders(self) -> list[Path]:
        return [path for path in self.node.folder.iterdir() if _is_of_sandbox(path)]

    async def keeper(self, sandbox: str) -> int:
        return int((await self.node.keepers.of(sandbox).ask("status"))["pid"])

    async def facts(self, sandbox: str) -> list[Any]:
        """What was told of it, in its order."""
        await self.installation.all_told("sandbox")
        messages = await self.installation.messages("EVENTS", "evt.*.sandbox.sandbox.changed")
        found = [json.loads(message.data) for message in messages]
        return [each for each in found if each["sandbox"] == sandbox]

    # -- the service -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def service(self, node: Node | None = None, **changes: Any) -> AsyncIterator[Service]:
        async with running(service_of(self.installation, node or self.node, **changes)) as service:
            yield service

    def process(self, node: Node, log: Path) -> Running:
        """The service in a process of its own, which may be killed."""
        return process_of(self.installation, node, log)


def _is_of_sandbox(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".spare-", ".base-"))


@asynccontextmanager
async def running_sandboxes(installation: Installation) -> AsyncIterator[Node]:
    """A node with its service."""
    node = Node.new()
    await node.start()
    try:
        async with running(service_of(installation, node)):
            yield node
    finally:
        await node.stop()


def service_of(installation: Installation, node: Node, **changes: Any) -> Service:
    given: dict[str, Any] = {"sandboxes": node.folder, "data_listen": _socket(node)}
    given |= {"templates": node.folder.parent / "templates"} | changes
    return build(installation.settings(SandboxSettings, **given))


def process_of(installation: Installation, node: Node, log: Path) -> Running:
    found = services.process(installation, "sandbox", log)
    found.program.env["SIGNALBOX_SANDBOXES"] = str(node.folder)
    found.program.env["SIGNALBOX_DATA_LISTEN"] = _socket(node)
    return found


def _socket(node: Node) -> str:
    """Of each instance its own."""
    return f"unix:{node.folder.parent}/{uuid.uuid4().hex[:8]}.sock"


@asynccontextmanager
async def sandboxes_of(installation: Installation) -> AsyncIterator[SandboxScene]:
    """Without the service: a test says how many of it there are."""
    node = Node.new()
    await node.start()
    try:
        async with installation.running_auth(), installation.served_gateway() as (http, address):
            headers = await http.sign_up()
            project = await http.project(headers)
            yield SandboxScene(installation, node, http, address, headers, project)
    finally:
        await node.stop()


@asynccontextmanager
async def node_of() -> AsyncIterator[Node]:
    """One more node of the same installation."""
    node = Node.new()
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def events_of(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The name and the data of each."""
    name = ""
    async for line in response.aiter_lines():
        kind, _, value = line.partition(": ")
        if kind == "event":
            name = value
        elif kind == "data":
            yield name, json.loads(value)
