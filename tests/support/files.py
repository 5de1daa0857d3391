"""Files of a sandbox, as they are asked for through the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of


class Files:
    """Of one sandbox."""

    def __init__(self, scene: SandboxScene, sandbox: str) -> None:
        self.scene = scene
        self.id = sandbox
        self.path = f"{SANDBOXES}/{sandbox}/files"

    async def ask(self, method: str, rest: str = "", *, json: Any = None, **query: str) -> httpx.Response:
        return await self.scene.http.request(
            method, self.path + rest, params=query, json=json, headers=self.scene.headers
        )

    async def put(self, path: str, content: Any, **query: str) -> httpx.Response:
        return await self.scene.http.put(
            self.path, params={"path": path} | query, content=content, headers=self.scene.headers
        )

    async def write(self, path: str, content: Any, **query: str) -> None:
        answer = await self.put(path, content, **query)
        assert answer.status_code == 204, answer.text

    async def read(self, path: str, **query: str) -> bytes:
        answer = await self.ask("GET", path=path, **query)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def list(self, path: str = ".", **query: str) -> Any:
        answer = await self.ask("GET", "/list", path=path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def stat(self, path: str) -> Any:
        answer = await self.ask("GET", "/stat", path=path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def sh(self, script: str) -> str:
        return await self.scene.said(self.id, script)

    async def refused(
        self, method: str, rest: str = "", *, json: Any = None, **query: str
    ) -> tuple[int, str]:
        answer = await self.ask(method, rest, json=json, **query)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["code"]


@asynccontextmanager
async def files_of(installation: Installation) -> AsyncIterator[Files]:
    """A sandbox on a node with its service."""
    async with sandboxes_of(installation) as scene, scene.service():
        made = await scene.create(timeout=3600)
        yield Files(scene, made["id"])
