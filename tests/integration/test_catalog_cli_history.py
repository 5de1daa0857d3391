"""The commands, against the gateway: history, packages, watching."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.support.installation import Installation
from tests.support.shopkeeper import BOT, GHOST, TEAM, Person, person_of, rows
from tests.support.stack import CLI


@pytest.fixture
async def person(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Person]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with person_of(installation, tmp_path) as somebody:
        yield somebody


# -- history, rollback, delete, restore -------------------------------------------------------------------


async def test_what_it_was_before(person: Person) -> None:
    await person.shop()
    for words in ("Sells more.", "Sells most."):
        await person.run("apply", "-f", person.write("bot.yaml", BOT.replace("Sells.", words)))
    assert [row[0] for row in rows(await person.out("history", "bot", "clerk"))] == [
        "GENERATION",
        "3",
        "2",
        "1",
    ]
    told = await person.out("history", "bot/clerk", "--generation", "3")
    assert "against generation 2" in told
    assert "~ /spec/description\n      - Sells more.\n      + Sells most.\n" in told
    told = await person.out("history", "bot/clerk", "--generation", "3", "--against", "1")
    assert "      - Sells.\n" in told
    before = await person.out("history", "bot/clerk", "--generation", "1", "-o", "yaml")
    assert yaml.safe_load(before)["spec"]["description"] == "Sells."
    assert await person.out("rollback", "bot", "clerk", "--to", "1") == (
        "bot/clerk rolled back to generation 1; it is generation 4 now\n"
    )
    assert (await person.json("get", "bot", "clerk"))["spec"]["description"] == "Sells."
    assert "never was" in await person.err("rollback", "bot", "clerk", "--to", "99")
    assert "go with --generation" in await person.err("history", "bot", "clerk", "--against", "1", code=2)

    told = await person.out("describe", "bot", "clerk")
    for part in (
        "Name:          clerk\n",
        f"Namespace:     {person.username}\n",
        "Labels:        app=shop\n",
        "  description: Sells.\n",
        "References:\n  ghostRef: ghost/helper\n  shellRef: shell/chat\n",
    ):
        assert part in told
    generations = rows(told.split("History:\n")[1])
    assert [row[0] for row in generations] == ["GENERATION", "4", "3", "2", "1"]


async def test_deleted_and_brought_back(person: Person) -> None:
    await person.shop()
    refused = await person.err("delete", "ghost", "helper")
    assert "ghost/helper: It is referred to by bot clerk" in refused
    assert await person.out("delete", "bot", "clerk") == "bot/clerk deleted\n"
    assert "There is no bot clerk" in await person.err("delete", "bot", "clerk")
    assert await person.out("delete", "bot", "clerk", "--ignore-not-found") == ""
    header, row = rows(await person.out("get", "bots", "--deleted"))
    assert (header[-1], row[0]) == ("DELETED", "clerk")
    assert await person.out("restore", "bot/clerk") == "bot/clerk restored\n"
    assert "already" in await person.err("restore", "bot/clerk")
    assert await person.out("delete", "ghost", "helper", "--cascade") == "ghost/helper deleted\n"
    assert await person.out("get", "all", "-o", "name") == "shell/chat\n"

    await person.shop()
    await person.run("apply", "-f", person.write("team.yaml", TEAM))
    files = ["-f", str(person.folder / "shop"), "-f", str(person.folder / "team.yaml")]
    done = (await person.out("delete", *files)).splitlines()
    assert done == ["team/staff deleted", "bot/clerk deleted", *done[2:]]
    assert set(done[2:]) == {"ghost/helper deleted", "shell/chat deleted"}
    await person.shop()
    assert (await person.out("delete", "all", "-l", "app=shop")).splitlines()[0] == "bot/clerk deleted"
    assert await person.out("get", "all", "-o", "name") == ""
    for words in ((), ("bot", "a", "-f", "x"), ("bots", "-l", "a=b", "-f", "x")):
        assert "say what to delete" in await person.err("delete", *words, code=2)
    assert "say which one" in await person.err("delete", "bots")

    await person.shop()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}

    def delete(answer: bytes) -> "subprocess.CompletedProcess[str]":
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer)
            return subprocess.run(
                [*CLI, "delete", "bot/clerk", "ghost/helper"],
                env=inherited | person.env,
                stdin=theirs,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)

    no = await asyncio.to_thread(delete, b"n\n")
    assert (no.returncode, no.stdout) == (1, "")
    assert "  bot/clerk\n  ghost/helper\nDelete these 2? (y/N)" in no.stderr
    assert "nothing was deleted" in no.stderr
    yes = await asyncio.to_thread(delete, b"y\n")
    assert (yes.returncode, yes.stdout) == (0, "bot/clerk deleted\nghost/helper deleted\n")


async def test_what_is_gone_in_another_project_is_said(person: Person) -> None:
    await person.shop()
    project = await person.http.project(person.headers, "Market")
    found = await person.http.get(f"/api/v1/projects/{project}", headers=person.headers)
    market = found.json()["slug"]
    away = person.write("ghost.yaml", GHOST)
    assert "ghost/helper created" in await person.out("apply", "-f", away, "-n", market)
    abroad = yaml.safe_load(BOT)
    abroad["spec"]["ghostRef"] = {"name": "helper", "namespace": market}
    await person.run("apply", "-f", person.write("bot.yaml", yaml.safe_dump(abroad)))
    assert await person.out("delete", "ghost", "helper", "-n", market) == "ghost/helper deleted\n"
    told = await person.out("describe", "bot", "clerk")
    assert "State:         BrokenReference\n" in told
    assert f"  ghostRef: ghost/helper (not there any more in {market})\n" in told


async def test_what_goes_on_is_followed(installation: Installation, tmp_path: Path) -> None:
    async with person_of(installation, tmp_path, command_patience=0.0) as person:
        await person.shop()
        assert await person.out("delete", "bot", "clerk") == "bot/clerk deleted\n"
        assert await person.out("restore", "bot", "clerk") == "bot/clerk restored\n"
        assert "It is referred to by bot clerk" in await person.err("delete", "ghost", "helper")


# -- kinds, explain, skills, watch ------------------------------------------------------------------------


async def test_kinds_and_their_fields(person: Person) -> None:
    header, *found = rows(await person.out("kinds"))
    assert header == ["NAME", "SHORT", "VERSION", "KIND", "DESCRIPTION"]
    assert {"ghosts", "models", "shells", "bots", "teams", "skills"} <= {row[0] for row in found}
    assert await person.out("api-resources") == await person.out("kinds")
    assert {"kind", "plural", "shortNames"} <= json.loads(await person.out("kinds", "--json"))[0].keys()
    assert "ghostRef <object> -required-" in await person.out("explain", "bot.spec")
    assert "botRef <object> -required-\n" in await person.out("explain", "team", "--recursive")
    assert "one of: squash, keep" in await person.out("explain", "task.spec")
    assert "attempts <integer>" in await person.out("explain", "Tasks.spec.retry")
    assert "there is no field spec.x" in await person.err("explain", "bot.spec.x")


async def test_packages_of_skills(person: Person) -> None:
    skill = "---\nname: tidy\ndescription: Tidies up.\n---\nHow to.\n"
    person.write("tidy/SKILL.md", skill)
    person.write("tidy/bin/run.sh", "#!/bin/sh\n")
    (person.folder / "tidy/bin/run.sh").chmod(0o755)
    pushed = await person.out("skill", "push", "tidy", str(person.folder / "tidy"))
    assert re.fullmatch(r"skill/tidy pushed: 2 files, [\d,]+ bytes, sha256 [0-9a-f]{64}\n", pushed)
    target = person.folder / "got.zip"
    await person.run("skill", "pull", "tidy", "-o", str(target))
    with zipfile.ZipFile(target) as archive:
        assert archive.read("SKILL.md").decode() == skill
    assert await person.out("skill", "push", "tidy", str(target)) == pushed
    listed = await person.out("skill", "files", "tidy")
    assert [row[1:] for row in rows(listed)] == [
        ["MODE", "PATH"],
        ["-", "SKILL.md"],
        ["executable", "bin/run.sh"],
        [],
    ]
    assert json.loads(await person.out("skill", "files", "tidy", "--json"))["files"][0]["path"] == "SKILL.md"
    assert "Package:\n" in await person.out("describe", "skill", "tidy")
    assert "SKILL.md calls the skill tidy" in await person.err("skill", "push", "other", str(target))
    assert "cannot be read" in await person.err("skill", "push", "tidy", "absent")
    person.write("bad.zip", "no zip")
    assert "signalbox:" in await person.err("skill", "push", "tidy", str(person.folder / "bad.zip"))
    await person.run(
        "apply",
        "-f",
        "-",
        stdin="apiVersion: signalbox.dev/v1\nkind: Skill\nmetadata: {name: bare}\nspec: {description: x}\n",
    )
    assert "This skill has no package" in await person.err("skill", "pull", "bare", "-o", str(target))


async def test_watch_tells_every_change(person: Person) -> None:
    await person.shop()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    with subprocess.Popen(
        [*CLI, "get", "bots", "-w", "-o", "json"],
        env=inherited | person.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout is not None

        async def told() -> tuple[str, str, str]:
            assert process.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 20)
            said = json.loads(line)
            return said["type"], said["object"]["metadata"]["name"], said["object"]["spec"]["description"]

        try:
            assert await told() == ("ADDED", "clerk", "Sells.")
            await person.run("apply", "-f", "-", stdin=BOT.replace("Sells.", "Sells more."))
            assert await told() == ("MODIFIED", "clerk", "Sells more.")
            await person.run("delete", "bot", "clerk")
            assert await told() == ("DELETED", "clerk", "Sells more.")
            process.send_signal(signal.SIGINT)
            _, problems = await asyncio.to_thread(process.communicate, None, 20)
            assert (process.returncode, problems) == (130, "")
        finally:
            process.kill()
    assert "--watch goes with neither" in await person.err("get", "bots", "-w", "-q", "x", code=2)
