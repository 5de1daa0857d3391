"""Documents to apply, and what became of them."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from signalbox_common.testing import eventually
from tests.support.catalog import Catalog
from tests.support.factories import document
from tests.support.installation import Installation

GHOST: dict[str, Any] = {"systemPrompt": "You write code."}
SHELL: dict[str, Any] = {"shellType": "Chat"}
MODEL: dict[str, Any] = {"modelConfig": {"env": {"model": "openai", "model_id": "m1"}}}
STATE = (
    "select * from catalog.resources order by uid",
    "select * from catalog.labels order by uid, key",
    "select * from catalog.refs order by from_uid, field",
    "select * from catalog.revisions order by project_id, version",
    "select * from catalog.namespaces order by project_id",
)
"""All that a resource is, was and refers to."""


def first_lines(text: str) -> list[int]:
    """Where each document of a text begins."""
    return [node.start_mark.line + 1 for node in yaml.compose_all(text, Loader=yaml.SafeLoader)]


def a_team(**changes: Any) -> list[dict[str, Any]]:
    """A team with all that belongs to it, what refers before what is referred to."""
    bot = {"ghostRef": "ghost", "shellRef": "shell", "modelRef": "model"}
    return [
        document("Team", "team", {"bots": ["bot"]}, **changes),
        document("Bot", "bot", bot, **changes),
        document("Ghost", "ghost", GHOST | {"skills": ["skill"]}, **changes),
        document("Model", "model", MODEL, **changes),
        document("Shell", "shell", SHELL, **changes),
        document("Skill", "skill", {"description": "Checks style."}, **changes),
    ]


def actions(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["action"] for item in items]


def places(errors: Sequence[dict[str, Any]], text: str) -> list[tuple[int, str, str]]:
    """Document, field and code of each flaw, whose line is one of that document."""
    lines = [*first_lines(text), text.count("\n") + 2]
    for error in errors:
        assert lines[error["document"] - 1] <= error["line"] < lines[error["document"]], error
    return [(error["document"], error["field"], error["code"]) for error in errors]


async def state(installation: Installation) -> list[list[Any]]:
    async with installation.sql() as connection:
        return [[tuple(row) for row in await connection.fetch(statement)] for statement in STATE]


async def events(installation: Installation) -> list[tuple[str, str, str]]:
    """What was told about resources, oldest first: what, which one, its version."""
    found = []
    for message in await installation.messages("EVENTS", "evt.*.catalog.resource.*"):
        said = json.loads(message.data)
        found.append((message.subject.rpartition(".")[2], said["name"], said["resourceVersion"]))
    return found


async def all_told(installation: Installation, count: int) -> list[tuple[str, str, str]]:
    async def told() -> list[tuple[str, str, str]]:
        assert await installation.count("catalog.outbox") == 0
        found = await events(installation)
        assert len(found) == count, found
        return found

    return await eventually(told, what=f"{count} events")


async def project(catalog: Catalog, name: str) -> tuple[str, str]:
    """The id and the slug of a new one."""
    project_id = await catalog.http.project(catalog.headers, name)
    found = await catalog.http.get(f"/api/v1/projects/{project_id}", headers=catalog.headers)
    return project_id, str(found.json()["slug"])
