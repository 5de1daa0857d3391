"""Tasks of a running stack, from the command line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.checkouts import git
from tests.support.remotes import new_repository
from tests.support.stack import Stack


async def test_from_a_command_to_a_branch(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    path = new_repository(stack.home.path / "repositories" / "sums.git", {"a.txt": "1\n"})

    def run(*arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        ran = stack.run(*arguments)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran

    run("repo", "add", str(path), "--name", "sums")
    try:
        said = run(
            "run", "--repo", "sums", "-b", "two", "-e", "N=2", "--", "echo $N >> a.txt; echo done"
        ).stdout
        assert "\ndone\n" in said
        assert "deliver: succeeded" in said
        assert "+2\n" in said
        assert git(path, "show", "two:a.txt") == "1\n2\n"
        task = json.loads(run("tasks", "ls", "--json").stdout)[0]
        assert task["title"] == "echo $N >> a.txt; echo done"
        assert task["id"] in run("tasks", "ls", "--search", "ECHO").stdout
        assert "exit code 0" in run("tasks", "get", task["id"]).stdout
        assert run("tasks", "logs", task["id"][-8:]).stdout == "done\n"
        assert run("tasks", "diff", task["id"]).stdout.endswith("+2\n")
        run("tasks", "follow-up", task["id"], "Three", "--", "sh", "-c", "echo 3 >> a.txt")
        assert git(path, "show", "two:a.txt") == "1\n2\n3\n"
        story = json.loads(run("trace", task["id"], "--json").stdout)
        told = [f"{each['who']}.{each['what']}" for each in story]
        for what in ("git.checkout.changed", "sandbox.sandbox.changed", "git.delivery.changed"):
            assert told.index("tasks.run.changed") < told.index(what) < len(told) - 1, told
        assert "run.ended" in run("trace", task["id"]).stdout
        notes = tmp_path / "notes.txt"
        notes.write_text("as it was noted\n")
        script = "cat $SIGNALBOX_ATTACHMENTS/notes.txt; false"
        said_so = ("--title", "[/] and [bold] are no markup")
        failed = json.loads(
            run("run", "--attach", str(notes), *said_so, "--json", "--", script, code=1).stdout
        )
        assert (failed["task"]["error"]["code"], failed["changes"]) == ("exec_failed", None)
        again = run("tasks", "retry", failed["task"]["id"], code=1)
        assert "shell: failed" in again.stdout
        assert "as it was noted" in again.stdout
        assert "notes.txt  16 bytes" in run("tasks", "get", failed["task"]["id"]).stdout
        assert "[/] and [bold]" in run("tasks", "ls").stdout
        assert "not NAME=VALUE" in run("run", "-e", "x", "--", "true", code=2).stderr
        run("run", code=2)
    finally:
        run("repo", "rm", "sums")


async def test_whoever_looks_on_may_leave(stack: Stack, tmp_path: Path) -> None:
    """It goes on without them, until somebody cancels it."""
    await stack.become_admin()
    argv = [sys.executable, "-m", "signalbox_cli.main", "run", "--", "echo begun; sleep 600"]
    looking = subprocess.Popen(
        argv,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert looking.stdout is not None
    for line in looking.stdout:
        if line == "begun\n":
            break
    looking.send_signal(signal.SIGINT)
    _, said = looking.communicate(timeout=30)
    assert (looking.returncode, "It goes on" in said) == (130, True)
    task = json.loads(stack.run("tasks", "ls", "--status", "running", "--json").stdout)[0]
    assert stack.run("tasks", "cancel", task["id"]).stdout == "cancelled\n"
