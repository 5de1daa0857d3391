"""Notifications of a running stack, from the command line."""

import json

from typer.testing import CliRunner, Result

from signalbox_cli.main import app
from tests.support.stack import Stack


async def test_from_a_notification_to_what_was_sent(stack: Stack) -> None:
    await stack.become_admin()

    def ran(*arguments: str) -> Result:
        """In this process: so many of them would take long to start."""
        return CliRunner().invoke(app, ["notifications", *arguments], env=stack.environment())

    def run(*arguments: str) -> str:
        done = ran(*arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    refused = ran("create", "[metadata]", "http://169.254.169.254/latest")
    assert (refused.exit_code, "no address that is public" in refused.stderr) == (1, True)
    identifier, secret = run("create", "[here]", "http://localhost:1/hook", "--on", "failed").splitlines()
    assert secret.startswith("whsec_")
    assert "called so" in ran("create", "[HERE]", "https://example.com/").stderr
    tested = ran("test", "[here]")
    assert tested.exit_code == 1
    assert "localhost is at an address that is not public." in tested.stdout
    (ping,) = json.loads(run("deliveries", "[here]", "--json"))
    assert (ping["type"], ping["status"], ping["attempts"]) == ("tasks.notification.ping", "dead", 1)
    assert "notification.ping" in run("deliveries", "[here]", "--status", "dead")
    assert ping["id"] not in run("deliveries", "[here]", "--status", "delivered")
    again = ran("redeliver", "[here]", ping["id"][-12:])
    assert (again.exit_code, "not public" in again.stdout) == (1, True)
    assert json.loads(run("deliveries", "[here]", "--json"))[0]["attempts"] == 2
    assert run("pause", identifier[-12:]) == "paused\n"
    assert run("resume", "[here]") == "on\n"
    changed = json.loads(run("update", "[here]", "--name", "[there]", "--on", "waiting", "--on", "failed"))
    assert (changed["name"], changed["states"]) == ("[there]", ["waiting", "failed"])
    assert run("rotate", "[there]").splitlines()[1] != secret
    assert "[there]" in run("ls")
    assert json.loads(run("get", "[there]"))["id"] == identifier
    assert run("delete", "[there]") == ""
    assert ran("get", "[there]").exit_code == 1
