"""Resources for tests: small, good, and different from each other where they should be."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from signalbox_common.runtime import Service
from signalbox_common.testing import running
from tests.support.installation import Http, Installation

KINDS = "/api/v1/kinds"
YAML = {"content-type": "application/yaml"}

SPECS: dict[str, dict[str, Any]] = {
    "skills": {"description": "Checks style."},
    "ghosts": {"systemPrompt": "You write code."},
    "models": {"modelConfig": {"env": {"model": "openai", "model_id": "m1"}}},
    "shells": {"shellType": "Chat"},
}


@dataclass
class Catalog:
    """Auth, catalog and gateway of one installation, and somebody who is signed in."""

    http: Http
    service: Service
    headers: dict[str, str]
    namespace: str = "developer"
    """Of the personal project, which is called as its owner is."""

    async def create(
        self, plural: str, name: str, spec: dict[str, Any] | None = None, **metadata: Any
    ) -> Any:
        """The resource, which must be good."""
        body = {"metadata": {"name": name} | metadata, "spec": SPECS[plural] if spec is None else spec}
        answer = await self.http.post(f"{KINDS}/{plural}", json=body, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = await self.http.get(f"{KINDS}/{path}", params=query, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def bot(self, name: str = "bot", *, ghost: str = "ghost") -> Any:
        """A bot with all that belongs to it."""
        await self.create("ghosts", ghost)
        await self.create("shells", f"{name}-shell")
        await self.create("models", f"{name}-model")
        refs = {"ghostRef": ghost, "shellRef": f"{name}-shell", "modelRef": f"{name}-model"}
        return await self.create("bots", name, {field: {"name": to} for field, to in refs.items()})

    async def apply(
        self, text: str | bytes, headers: dict[str, str] | None = None, **query: Any
    ) -> httpx.Response:
        return await self.http.post(
            "/api/v1/apply", content=text, params=query, headers=(headers or self.headers) | YAML
        )


@asynccontextmanager
async def catalog_of(installation: Installation, **changes: Any) -> AsyncIterator[Catalog]:
    """Of somebody new."""
    name = f"developer-{uuid.uuid4().hex[:10]}"
    catalog = running(installation.catalog(**changes)) if changes else installation.running_catalog()
    async with installation.running_auth(), catalog as service, installation.gateway() as http:
        yield Catalog(http, service, await http.sign_up(name), name)
