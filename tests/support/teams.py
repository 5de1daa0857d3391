"""Bots and teams of the catalog, as tasks work with them."""

import json
from typing import Any

from tests.support.tasks import TaskScene


def bot(name: str, shell: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        resource("Ghost", name, {"systemPrompt": "You do it."}),
        resource("Shell", name, shell),
        resource("Bot", name, {"ghostRef": {"name": name}, "shellRef": {"name": name}}),
    ]


def resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "signalbox.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def script(text: str) -> dict[str, Any]:
    return {"shellType": "Exec", "script": text}


async def apply(there: TaskScene, *documents: dict[str, Any]) -> None:
    slug = (await there.ask("GET", f"/api/v1/projects/{there.project}"))["slug"]
    content = "\n---\n".join(json.dumps(document) for document in documents)
    headers = there.headers | {"Content-Type": "application/yaml"}
    applied = await there.http.post(
        "/api/v1/apply", params={"namespace": slug}, content=content, headers=headers
    )
    assert applied.status_code == 200, applied.text


async def team(there: TaskScene, name: str, *members: dict[str, Any], model: str = "pipeline") -> None:
    await apply(there, resource("Team", name, {"members": list(members), "collaborationModel": model}))
