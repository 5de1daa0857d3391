"""Triggers of a running stack, from the command line."""

import hashlib
import hmac
import json
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from signalbox_cli.main import app
from signalbox_common.testing import eventually
from tests.support.stack import Stack


async def test_from_a_trigger_to_what_became_of_it(stack: Stack) -> None:
    await stack.become_admin()

    def ran(*arguments: str) -> Result:
        """In this process: so many of them would take long to start."""
        return CliRunner().invoke(app, arguments, env=stack.environment())

    def run(*arguments: str) -> str:
        done = ran(*arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def triggers(*arguments: str) -> str:
        return run("triggers", *arguments)

    rules = ("--only", "$.action=opened", "--only", "$.action=reopened", "--take", "WHO=$.sender")
    made = run("run", "--hook", "github", "--name", "[Opened]", *rules, "--", "echo by $WHO").splitlines()
    identifier, address, secret = made[0], made[1].split()[1], made[2].split()[1]
    said = run("run", "--event", "ext.ci.>", "--title", "Told", "--", "true")
    for wrong in (("--only", "$.a=1"), ("--hook", "token", "--every", "5m"), ("--name", "x")):
        assert ran("run", *wrong, "--", "true").exit_code == 2
    assert ran("run", "--hook", "token", "--take", "WHO", "--", "true").exit_code == 2

    body = b'{"action": "opened", "sender": "alice"}'

    async def delivered() -> Any:
        """Once it may act for whoever has made it."""
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        async with httpx.AsyncClient() as client:
            headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "one"}
            answer = await client.post(address, content=body, headers=headers)
        return answer.json() if answer.status_code == 200 else None

    called = await eventually(delivered, what="a delivery is taken")
    assert called["outcome"] == "started"
    assert "by alice" in run("tasks", "logs", called["taskId"], "-f")
    told = triggers("history", identifier[-12:])
    assert called["taskId"] in told
    assert "started" in told

    assert triggers("pause", "[Opened]") == "paused\n"
    assert triggers("resume", "[Opened]") == "on\n"
    changed = json.loads(triggers("update", "[Opened]", "--name", "Opened", "--per-minute", "9"))
    assert (changed["name"], changed["perMinute"], changed["parameters"]) == (
        "Opened",
        9,
        {"WHO": "$.sender"},
    )
    assert ran("triggers", "update", "Opened").exit_code == 2
    assert triggers("rotate", "Opened").splitlines()[1] != made[1]
    listed = triggers("ls")
    assert "hook, github" in listed
    assert "ext.ci.>" in listed
    assert json.loads(triggers("get", said.strip()))["name"] == "Told"
    for each in ("Opened", "Told"):
        assert triggers("delete", each) == ""
