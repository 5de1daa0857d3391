"""Usage and quotas from the command line, against the gateway."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.shopkeeper import Person, person_of
from tests.support.tasks import running_tasks


@pytest.fixture
async def person(installation: Installation, tmp_path: Path) -> AsyncIterator[Person]:
    async with person_of(installation, tmp_path) as somebody, running_tasks(installation, tmp_path):
        yield somebody


async def ended(person: Person) -> str:
    """The personal project, with a run that has ended."""
    body = {"title": "Do nothing", "noop": {}}
    made = await person.http.post("/api/v1/tasks", json=body, headers=person.headers)
    assert made.status_code == 201, made.text

    async def so() -> bool:
        found = await person.http.get(f"/api/v1/tasks/{made.json()['id']}", headers=person.headers)
        return bool(found.json()["status"] == "succeeded")

    await eventually(so, what="the task has ended")
    return str(made.json()["projectId"])


async def test_what_was_used_and_what_may_be(person: Person) -> None:
    project, me = await ended(person), (await person.http.me(person.headers))["id"]
    shown = (await person.out("usage")).splitlines()
    assert shown[0].split()[:3] == ["day", "runs", "succeeded"]
    assert shown[1].split()[:3] == [str(datetime.now(UTC).date()), "1", "1"]
    rows = list(csv.DictReader(io.StringIO(await person.out("usage", "--by", "person,model", "--csv"))))
    assert [(row["userId"], row["model"], row["runs"]) for row in rows] == [(me, "", "1")]
    (line,) = (await person.out("usage", "--by", "", "--jsonl", "-p", project)).splitlines()
    assert json.loads(line)["runs"] == 1
    assert (await person.out("usage", "--to", "2020-01-01")).splitlines()[1:] == []
    assert "begins before it ends" in await person.err("usage", "--from", "2026-02-01", "--to", "2026-01-01")
    await person.err("usage", "--csv", "--jsonl", code=2)

    assert "queuedTasks" in await person.out("quotas", "get")
    assert "administrators" in await person.err("quotas", "set", "--queued-tasks", "5")
    admin = await person.http.administrator()
    person.env["SIGNALBOX_TOKEN"] = admin["Authorization"].removeprefix("Bearer ")

    async def put(*words: str) -> Any:
        return json.loads(await person.out("quotas", "set", *words, "-p", project, "--json"))

    found = await put("--queued-tasks", "5", "--running-tasks", "none", "--cost-per-month", "2.5")
    assert (found["limits"]["queuedTasks"], found["limits"]["runningTasks"]) == (5, None)
    found = await put("--live-sandboxes", "3", "--queued-tasks", "default")
    assert set(found["given"]) == {"liveSandboxes", "runningTasks", "costPerMonth"}
    assert found["limits"]["queuedTasks"] == 10_000
    await person.err("quotas", "set", "--queued-tasks", "many", "-p", project, code=2)
    await person.err("quotas", "set", "-p", project, code=2)
