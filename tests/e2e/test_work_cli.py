"""`signalbox work` and what `signalbox status` says of it, on the running stack."""

import json
from typing import Any

import asyncpg
import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.e2e

FAILED = """
    insert into tasks.work (kind, key, project, state, due_at, attempts, payload, error, created_at)
    values ('lab', $1, '00000000-0000-0000-0000-000000000000', 'failed', now(), 6, '{"name": "house"}',
            'Traceback: no luck', now())
    returning id
"""
"""No service has a kind of that name, so whatever becomes of it stays as it is."""


async def failed(stack: Stack, key: str) -> str:
    url = (stack.home.credentials / "operator" / "database-url").read_text().strip()
    connection = await asyncpg.connect(url)
    try:
        return f"tasks/{await connection.fetchval(FAILED, key)}"
    finally:
        await connection.close()


def shown(stack: Stack, *arguments: str) -> Any:
    done = stack.run("work", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def test_failed_work_is_listed_retried_and_dropped(stack: Stack) -> None:
    name = await failed(stack, "cli-one")
    (row,) = shown(stack, "ls", "--service", "tasks", "--state", "failed", "--json")
    assert (f"{row['service']}/{row['id']}", row["key"], row["attempts"]) == (name, "cli-one", 6)
    assert shown(stack, "show", name)["payload"] == {"name": "house"}
    listed = stack.run("work", "ls")
    assert "cli-one" in listed.stdout
    assert "no luck" in listed.stdout
    assert stack.status()["work"]["tasks"]["failed"] == 1

    retried = stack.run("work", "retry", name, "tasks/999999")
    assert retried.returncode == 1, "one of them is not there"
    assert f"{name}: waits for its turn" in retried.stdout
    assert "tasks/999999: not_found" in retried.stdout
    assert shown(stack, "show", name)["state"] == "waiting"

    assert stack.run("work", "drop", name).returncode == 0
    assert shown(stack, "ls", "--json") == []
    assert "no work" in stack.run("work", "ls").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nonsense"), "looks like tasks/12"),
        (("show", "gateway/1"), "looks like tasks/12"),
        (("retry", "tasks/0"), "looks like tasks/12"),
        (("show", "tasks/999999"), "no work 999999"),
        (("ls", "--service", "gateway"), "there is no service gateway"),
        (("ls", "--state", "lost"), "there is no state lost"),
    ],
)
async def test_what_makes_no_sense_is_said(stack: Stack, arguments: tuple[str, ...], said: str) -> None:
    done = stack.run("work", *arguments)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
