"""Sandboxes of a running stack, from the command line."""

import json
from pathlib import Path

from tests.support.stack import Stack


async def test_from_made_to_gone(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    made = stack.run("sandbox", "create", "--quiet", "--env", "GREETING=hello", "--timeout", "600")
    assert made.returncode == 0, made.stderr
    sandbox = made.stdout.strip()
    try:
        said = stack.run("sandbox", "exec", sandbox, "--", "sh", "-c", "echo $GREETING; echo err >&2; exit 5")
        assert (said.stdout, said.stderr, said.returncode) == ("hello\n", "err\n", 5)
        late = stack.run("sandbox", "exec", "--timeout", "0.2", sandbox, "sleep", "60")
        assert late.returncode == 124
        listed = json.loads(stack.run("sandbox", "ps", sandbox, "--json").stdout)
        assert [each["exitCode"] for each in listed] == [5, None]
        logs = stack.run("sandbox", "logs", sandbox, listed[0]["key"])
        assert (logs.stdout, logs.stderr) == ("hello\n", "err\n")
        (tmp_path / "tree" / "deep").mkdir(parents=True)
        (tmp_path / "tree" / "deep" / "file").write_text("content")
        (tmp_path / "tree" / "run").write_text("#!/bin/sh\necho ran\n")
        (tmp_path / "tree" / "run").chmod(0o755)
        for source, target in (
            (f"{tmp_path}/tree", f"{sandbox}:"),
            (f"{tmp_path}/tree/run", f"{sandbox}:other/run"),
            (f"{sandbox}:tree", str(tmp_path / "back")),
            (f"{sandbox}:tree/deep/file", str(tmp_path)),
        ):
            copied = stack.run("sandbox", "cp", source, target)
            assert copied.returncode == 0, copied.stderr
        assert stack.run("sandbox", "exec", sandbox, "./other/run").stdout == "ran\n"
        assert (tmp_path / "file").read_text() == "content"
        assert (tmp_path / "back" / "deep" / "file").read_text() == "content"
        assert (tmp_path / "back" / "run").stat().st_mode & 0o777 == 0o755
        assert "is not there" in stack.run("sandbox", "cp", f"{sandbox}:nowhere", str(tmp_path)).stderr
        assert "paused" in stack.run("sandbox", "pause", sandbox).stdout
        assert "running" in stack.run("sandbox", "resume", sandbox).stdout
        assert "running" in stack.run("sandbox", "timeout", sandbox, "300").stdout
        assert sandbox in stack.run("sandbox", "ls", "--quiet").stdout.split()
        assert "needs a terminal" in stack.run("sandbox", "shell", sandbox).stderr
        unknown = stack.run("sandbox", "exec", "0000", "true")
        assert (unknown.returncode, "no sandboxes" in unknown.stderr) == (1, True)
    finally:
        assert "destroyed" in stack.run("sandbox", "kill", sandbox).stdout
    assert sandbox not in stack.run("sandbox", "ls", "--quiet").stdout.split()
    ended = json.loads(stack.run("sandbox", "ls", "--all", "--json").stdout)
    assert (sandbox, "destroyed") in {(each["id"], each["status"]) for each in ended}


async def test_a_template_from_its_recipe_to_its_end(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "template.yaml").write_text(
        "name: greeter\nnetwork: none\nenv: {GREETING: hello}\n"
        "setup: [mkdir -p /opt/template/bin, cp greet.sh /opt/template/bin/greet, greet]\n"
    )
    (recipe / "greet.sh").write_text("#!/bin/sh\necho $GREETING, ${1-nobody}\n")
    (recipe / "greet.sh").chmod(0o755)
    built = stack.run("template", "build", str(recipe))
    assert built.returncode == 0, built.stderr
    assert "template greeter built" in built.stdout
    assert "there already" in stack.run("template", "build", str(recipe)).stdout
    sandbox = stack.run("sandbox", "create", "greeter", "--quiet").stdout.strip()
    try:
        said = stack.run("sandbox", "exec", sandbox, "--", "greet", "world")
        assert said.stdout == "hello, world\n", said.stderr
        shown = stack.run("sandbox", "top", "--once", "--every", "0.2")
        assert sandbox[:18] in shown.stdout
        link = stack.run("sandbox", "port", sandbox, "8000").stdout.strip()
        assert "/preview/" in link
        assert "running" in stack.run("sandbox", "network", sandbox, "--allow", "example.com").stdout
        assert stack.run("sandbox", "network", sandbox).returncode == 2
    finally:
        stack.run("sandbox", "kill", sandbox)
    (recipe / "template.yaml").write_text("name: greeter\nnetwork: none\nsetup: ['exit 3']\n")
    failed = stack.run("template", "build", str(recipe))
    assert (failed.returncode, "ended with 3" in failed.stderr) == (1, True), failed.stderr
    assert "greeter" in stack.run("template", "ls").stdout
    assert stack.run("template", "rm", "greeter").returncode == 0
    assert "greeter" not in stack.run("template", "ls").stdout
