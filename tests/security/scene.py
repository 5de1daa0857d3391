"""Two projects side by side, people who belong to one or both, and what is known in the second one only."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from signalbox_common.bus import Bus
from signalbox_common.contracts import auth
from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, YAML
from tests.support.factories import Person, registered
from tests.support.installation import Http, Installation

ALPHA, BETA = "alpha", "beta"
OF_BETA = ("Whisper of beta", "craft-of-beta", "Label-of-beta", "sealed-in-beta")
"""What stands in resources of beta and nowhere else."""
SPIRIT = {"name": "spirit", "namespace": BETA}
SHELL = {"name": "shell"}
EVERYTHING = "!nobody-has-this"
"""A label selector that everything fits."""
KEY = "sk-live-0123456789abcdef"
"""A key, as somebody would put one into a spec."""
IDS = {"X-Request-ID": "the-same", "X-Correlation-ID": "for-both"}
OF_THE_MOMENT = frozenset(
    {"date", "x-operation-id", "content-length", "server-timing", "ratelimit-remaining", "ratelimit-reset"}
)

Seen = tuple[int, bytes, list[tuple[str, str]]]


@dataclass(frozen=True)
class Scene:
    """`alice` owns alpha, `bob` owns beta; `writer` develops alpha and reads beta; others know alpha."""

    installation: Installation
    http: Http
    people: Mapping[str, Person]
    projects: Mapping[str, str]

    def headers(self, who: str) -> dict[str, str]:
        return self.people[who].headers

    async def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """Of the routes of kinds, in alpha unless said otherwise."""
        params = {"namespace": ALPHA} | query
        return await self.http.request(
            method,
            f"{KINDS}/{path}",
            json=body,
            params=params,
            headers=self.headers(who) | dict(headers or {}),
        )

    async def good(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The same, where it must succeed."""
        answer = await self.ask(who, method, path, body, **query)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def apply(
        self, who: str, documents: Sequence[Mapping[str, Any]] | str, **query: Any
    ) -> httpx.Response:
        """In alpha, unless said otherwise."""
        text = documents if isinstance(documents, str) else json.dumps(list(documents))
        return await self.http.post(
            "/api/v1/apply",
            content=text,
            params={"namespace": ALPHA} | query,
            headers=self.headers(who) | YAML | IDS,
        )

    async def remove(self, namespace: str, who: str) -> None:
        """Takes somebody out of a project, and waits until everybody knows."""
        owner = {ALPHA: "alice", BETA: "bob"}[namespace]
        members = f"/api/v1/projects/{self.projects[namespace]}/members"
        gone = await self.http.delete(f"{members}/{self.people[who].id}", headers=self.headers(owner))
        assert gone.status_code == 204, gone.text

        async def known() -> bool:
            answer = await self.ask(who, "GET", "ghosts", namespace=namespace)
            return answer.status_code == 404

        await eventually(known, within=3)

    async def log(self, namespace: str, **filters: str) -> list[dict[str, Any]]:
        """The audit log of a project, as its owner reads it."""
        owner = {ALPHA: "alice", BETA: "bob"}[namespace]
        path = f"/api/v1/projects/{self.projects[namespace]}/audit"
        answer = await self.http.get(path, params={"limit": "500"} | filters, headers=self.headers(owner))
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def grant(self, bus: Bus, who: str, project: str | None = ALPHA, audience: str = "catalog") -> str:
        """As the gateway would fetch it."""
        where = uuid.UUID(self.projects[project]) if project is not None else None
        token = SecretStr(self.people[who].access_token)
        return (await bus.query(auth.GetGrant(token=token, audience=audience, project=where))).value().grant


def bot(name: str = "bot", ghost: Any = None, **metadata: Any) -> dict[str, Any]:
    """A bot whose ghost is in beta, unless said otherwise."""
    return {
        "apiVersion": "signalbox.dev/v1",
        "kind": "Bot",
        "metadata": {"name": name} | metadata,
        "spec": {"ghostRef": SPIRIT if ghost is None else ghost, "shellRef": SHELL},
    }


def ghost(name: str, namespace: str | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace is not None else {})
    return {
        "apiVersion": "signalbox.dev/v1",
        "kind": "Ghost",
        "metadata": metadata,
        "spec": {"systemPrompt": "You write code."} | spec,
    }


def seen(answer: httpx.Response, *asked: str) -> Seen:
    """All of an answer, with what was asked for left out of it."""
    headers = [item for item in answer.headers.multi_items() if item[0] not in OF_THE_MOMENT]
    content = answer.content
    for word in asked:
        content = content.replace(word.encode(), b"?")
    return answer.status_code, content, headers


@asynccontextmanager
async def two_projects(installation: Installation) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(),
        installation.running_catalog(),
        installation.gateway() as http,
    ):
        names = ("alice", "bob", "writer", "developer", "reader")
        people = {name: await registered(http, name) for name in names}
        projects = {
            ALPHA: await http.project(people["alice"].headers, "Alpha"),
            BETA: await http.project(people["bob"].headers, "Beta"),
        }
        scene = Scene(installation, http, people, projects)
        for namespace, owner, who, role in (
            (ALPHA, "alice", "writer", "developer"),
            (ALPHA, "alice", "developer", "developer"),
            (ALPHA, "alice", "reader", "viewer"),
            (BETA, "bob", "writer", "viewer"),
        ):
            member = {"userId": people[who].id, "role": role}
            path = f"/api/v1/projects/{projects[namespace]}/members"
            added = await http.post(path, json=member, headers=people[owner].headers)
            assert added.status_code == 201, added.text
        await scene.good("alice", "POST", "shells", {"metadata": SHELL, "spec": {"shellType": "Chat"}})
        skill = {"metadata": {"name": "craft-of-beta"}, "spec": {"description": "Whisper of beta"}}
        await scene.good("bob", "POST", "skills", skill, namespace=BETA)
        spirit = ghost("spirit", systemPrompt="Whisper of beta", skills=["craft-of-beta"])
        spirit["metadata"]["labels"] = {"of": "Label-of-beta"}
        await scene.good("bob", "POST", "ghosts", spirit, namespace=BETA)
        yield scene
