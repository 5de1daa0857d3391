"""Schedules of a running stack, from the command line."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from signalbox_cli.main import app
from signalbox_common.testing import eventually
from tests.support.stack import Stack


async def test_from_a_schedule_to_what_became_of_it(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()

    def ran(*arguments: str) -> Result:
        """In this process: so many of them would take long to start."""
        return CliRunner().invoke(app, arguments, env=stack.environment())

    def run(*arguments: str) -> str:
        done = ran(*arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def schedules(*arguments: str) -> str:
        return run("schedules", *arguments)

    at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    once = run("run", "--at", at, "--title", "Once", "--", "true").split("\n")[0]
    when = ("--cron", "30 2 28 3 *", "--timezone", "Europe/Berlin", "--overlap", "queue", "--misfire", "all")
    notes = tmp_path / "notes.txt"
    notes.write_text("as it was noted\n")
    what = ("--attach", str(notes), "-e", "N=night", "--", "cat $SIGNALBOX_ATTACHMENTS/notes.txt; echo $N")
    nightly = ("run", *when, "--name", "[Nightly]", "--title", "By night", *what)
    identifier, *times = run(*nightly).splitlines()
    assert len(times) == 5
    assert "called so" in ran(*nightly).stderr
    for wrong in (("--name", "x"), ("--overlap", "queue"), ("--every", "15m", "--cron", "@daily")):
        assert ran("run", *wrong, "--", "true").exit_code == 2
    assert schedules("next", "[nightly]", "-n", "2").splitlines() == times[:2]

    said = schedules("run-now", identifier[-12:])
    assert "\nas it was noted\nnight\n" in said
    assert "shell: succeeded" in said
    told = schedules("history", "[Nightly]")
    assert "started: asked for" in told
    assert told.split("\n")[1].split()[0] in said

    assert schedules("pause", "[Nightly]") == "paused\n"
    assert "it is paused" in ran("schedules", "next", "[Nightly]").stderr
    assert json.loads(schedules("get", "[Nightly]"))["id"] == identifier
    change = ("--at", "2097-01-01T08:00", "--name", "[New Year]", "--late-after", "9")
    changed = json.loads(schedules("update", "[Nightly]", *change))
    assert (changed["at"], changed["timezone"]) == ("2097-01-01T07:00:00Z", "Europe/Berlin")
    assert (changed["name"], changed["task"]["title"]) == ("[New Year]", "By night")
    policies = ("overlap", "misfire", "lateAfter")
    assert [changed[each] for each in policies] == ["queue", "all", 9]
    assert schedules("resume", "[New Year]") == "next 2097-01-01 08:00:00+01:00\n"

    async def fired() -> Any:
        return json.loads(schedules("history", once, "--json"))

    assert [each["outcome"] for each in await eventually(fired, what="its time comes")] == ["started"]
    listed = schedules("ls")
    assert "[New Year]" in listed
    assert "over" in listed
    assert schedules("next") == "2097-01-01 08:00:00+01:00  [New Year]\n"
    for each in (once, "[New Year]"):
        assert schedules("delete", each) == ""
