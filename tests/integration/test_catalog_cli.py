"""The `signalbox` command and the catalog: what people type, against a real server."""

import asyncio
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from signalbox_cli.main import app
from signalbox_common import telemetry
from tests.support.installation import Http, Installation
from tests.support.stack import CLI

PROMPT = "You are a bot.\n\n- be kind  \n- be quick\n"
GHOST = f"""\
apiVersion: signalbox.dev/v1
kind: Ghost
metadata:
  name: helper
  labels: {{app: shop, tier: front}}
spec:
  systemPrompt: {json.dumps(PROMPT)}
  mcpServers:
    github:
      command: npx
      env: {{GITHUB_TOKEN: ghp_0123456789abcdef, VERSION: '1e5'}}
"""
SHELL = """\
{"apiVersion": "signalbox.dev/v1", "kind": "Shell",
 "metadata": {"name": "chat", "labels": {"app": "shop"}}, "spec": {"shellType": "Chat"}}
"""
BOT = """\
apiVersion: signalbox.dev/v1
kind: Bot
metadata: {name: clerk, labels: {app: shop}}
spec: {ghostRef: {name: helper}, shellRef: {name: chat}, description: Sells.}
"""
TEAM = """\
apiVersion: signalbox.dev/v1
kind: Team
metadata: {name: staff}
spec:
  collaborationModel: pipeline
  members:
  - botRef: {name: clerk}
"""


@dataclass
class Person:
    """Somebody who is logged in, with a folder of their own."""

    http: Http
    headers: dict[str, str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    username: str = ""

    async def run(self, *words: str, stdin: str | None = None, code: int = 0) -> Result:
        done = await asyncio.to_thread(
            CliRunner().invoke, app, list(words), input=stdin, env=self.env, catch_exceptions=False
        )
        assert done.exit_code == code, (words, done.exit_code, done.stdout, done.stderr)
        return done

    async def out(self, *words: str, stdin: str | None = None, code: int = 0) -> str:
        return str((await self.run(*words, stdin=stdin, code=code)).stdout)

    async def err(self, *words: str, stdin: str | None = None, code: int = 1) -> str:
        return str((await self.run(*words, stdin=stdin, code=code)).stderr)

    async def json(self, *words: str) -> Any:
        return json.loads(await self.out(*words, "-o", "json"))

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    async def shop(self) -> None:
        """A bot with all that it is made of."""
        for name, text in {"b/ghost.yaml": GHOST, "b/shell.json": SHELL, "a.yaml": BOT}.items():
            self.write(f"shop/{name}", text)
        await self.run("apply", "-f", str(self.folder / "shop"))

    def editor(self, script: str) -> None:
        """Is run with the text of the file as `text`, and what it makes of it is saved."""
        lines = ("import sys, pathlib", "p = pathlib.Path(sys.argv[1])", "text = p.read_text()")
        path = self.write("editor.py", "\n".join([*lines, script, "p.write_text(text)"]))
        self.env["EDITOR"] = f"{sys.executable} {path}"


@asynccontextmanager
async def person_of(installation: Installation, tmp_path: Path, **gateway: Any) -> AsyncIterator[Person]:
    with (
        (tmp_path / "services.log").open("w", encoding="utf-8") as file,
        pytest.MonkeyPatch.context() as patch,
    ):
        # The services share our process, and must not log into what a command prints.
        patch.setattr(telemetry, "write", lambda line: file.write(line + "\n"))
        async with (
            installation.running_auth(),
            installation.running_catalog(),
            installation.served_gateway(**gateway) as (http, address),
        ):
            username = f"shopkeeper-{uuid.uuid4().hex[:10]}"
            headers = await http.sign_up(username)
            env = {
                "SIGNALBOX_URL": f"http://{address}",
                "SIGNALBOX_TOKEN": headers["Authorization"].removeprefix("Bearer "),
                "SIGNALBOX_CONFIG_DIR": str(tmp_path / "config"),
            }
            folder = tmp_path / "work"
            folder.mkdir()
            yield Person(http, headers, folder, env, username)


@pytest.fixture
async def person(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Person]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with person_of(installation, tmp_path) as somebody:
        yield somebody


def rows(table: str) -> list[list[str]]:
    return [re.split(r" {3,}", line.strip()) for line in table.splitlines()]


# -- apply and diff ---------------------------------------------------------------------------------------


async def test_apply_makes_it_so(person: Person) -> None:
    for name, text in {"b/ghost.yaml": GHOST, "b/shell.json": SHELL, "a.yaml": BOT}.items():
        person.write(f"shop/{name}", text)
    folder = str(person.folder / "shop")
    tried = await person.out("apply", "-f", folder, "--dry-run")
    assert tried.splitlines() == [
        f"{it} created (dry run)" for it in ("bot/clerk", "ghost/helper", "shell/chat")
    ]
    assert await person.out("get", "all") == "", "nothing was done"
    assert "bot/clerk created\n" in await person.out("apply", "-f", folder)
    again = await person.out("apply", "-f", folder, "-f", "-", stdin=TEAM)
    assert again.splitlines() == [
        "bot/clerk unchanged",
        "ghost/helper unchanged",
        "shell/chat unchanged",
        "team/staff created",
    ]
    changed = person.write("a.yaml", BOT.replace("Sells.", "Sells more."))
    applied = await person.json("apply", "-f", changed)
    assert (applied["items"][0]["action"], applied["items"][0]["generation"]) == ("updated", 2)
    assert await person.out("apply", "-f", changed, "-o", "name") == "bot/clerk\n"

    other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    path = person.write("other.yaml", other + "---\n" + GHOST)
    done = await person.out("apply", "-f", path)
    assert re.fullmatch(r"deployment/web skipped \(.+\)\nghost/helper unchanged\n", done)

    await person.run("delete", "team", "staff")
    rest = person.write("rest.yaml", GHOST)
    told = await person.out("diff", "-f", rest, "--prune", "-l", "app=shop", code=1)
    assert "bot/clerk would be deleted" in told
    done = await person.out("apply", "-f", rest, "--prune", "-l", "app=shop")
    assert sorted(done.splitlines()) == ["bot/clerk deleted", "ghost/helper unchanged", "shell/chat deleted"]


async def test_refusals_name_the_file_and_its_line(person: Person) -> None:
    good = person.write("good.yaml", "# A comment\n\n" + GHOST)
    team = person.write("teams.yaml", "\n\n" + TEAM)
    bad = {"apiVersion": "signalbox.dev/v1", "kind": "Bot", "metadata": {"name": "x"}}
    as_json = person.write(
        "bad.json", json.dumps(bad | {"spec": {"ghostRef": 3, "shellRef": "chat"}}, indent=1)
    )
    words = await person.err("apply", "-f", good, "-f", as_json, "-f", team)
    assert re.search(rf"^{re.escape(as_json)}:8: spec\.ghostRef.*: .+", words, re.MULTILINE), words
    missing = await person.err("apply", "-f", good, "-f", team)
    assert re.search(
        rf"^{re.escape(team)}:\d+: spec\.members\.0\.botRef: There is no bot clerk", missing, re.MULTILINE
    ), missing
    assert missing.endswith("signalbox: nothing was changed\n")
    assert await person.out("get", "all") == "", "all or nothing"
    broken = person.write("broken.yaml", "apiVersion: signalbox.dev/v1\nkind: [\n")
    assert re.search(
        rf"^{re.escape(broken)}:\d: This is not valid YAML",
        await person.err("apply", "-f", good, "-f", broken),
        re.MULTILINE,
    )
    huge = person.write("huge.yaml", GHOST.replace("You are", "x" * 1024 * 1024))
    assert "larger than 1 MiB" in await person.err("apply", "-f", huge)
    assert "signalbox: --prune and -l go together" in await person.err("apply", "-f", good, "--prune", code=2)


async def test_diff_tells_what_apply_would_do(person: Person) -> None:
    await person.shop()
    same = str(person.folder / "shop")
    assert await person.out("diff", "-f", same) == ""
    other = person.write(
        "other.yaml", GHOST.replace("be quick", "be slow").replace("shop,", "store,") + "---\n" + TEAM
    )
    told = await person.out("diff", "-f", other, code=1)
    assert "ghost/helper would be updated" in told
    assert "  ~ /spec/systemPrompt\n" in told
    assert "      -- be quick\n      +- be slow\n" in told
    assert "  ~ /metadata/labels/app\n      - shop\n      + store\n" in told
    assert "team/staff would be created" in told
    assert "+ systemPrompt" not in told
    key = person.write("key.yaml", GHOST.replace("ghp_0123456789abcdef", "ghp_fedcba9876543210"))
    told = await person.out("diff", "-f", key, code=1)
    assert "~ /spec/mcpServers/github/env/GITHUB_TOKEN" in told
    assert "ghp_" not in told
    assert "stored key" in told
    assert (await person.json("get", "ghost", "helper"))["metadata"]["generation"] == 1
    bad = person.write("bad.yaml", GHOST.replace("Ghost", "Goblin"))
    assert f"{bad}:2: kind" in await person.err("diff", "-f", bad, code=2)
    assert "cannot be read" in await person.err("diff", "-f", "absent.yaml", code=2)


# -- get --------------------------------------------------------------------------------------------------


async def test_get_shows_what_there_is(person: Person) -> None:
    await person.shop()
    for words in ("bots", "Bot clerk", "bot/clerk", "BOT -q ler", "bot -l app=shop,!x", "bots/clerk -l app"):
        header, row = rows(await person.out("get", *words.split()))
        assert header == ["NAME", "GHOST", "SHELL", "MODEL", "AGE"]
        assert row[:4] == ["clerk", "helper", "chat", "-"]

    tables = (await person.out("get", "all", "--show-labels")).split("\n\n")
    assert len(tables) == 3
    assert any("ghost/helper" in table and "app=shop,tier=front" in table for table in tables)
    assert await person.out("get", "sh,gh", "-o", "name") == "shell/chat\nghost/helper\n"
    assert "Available" in await person.out("get", "bots", "-o", "wide")
    some = await person.run("get", "bot", "clerk", "nobody", code=1)
    assert "clerk" in some.stdout
    assert "There is no bot nobody" in some.stderr
    assert "nothing was found" in (await person.run("get", "teams")).stderr
    assert "there is no kind 'bott'" in await person.err("get", "bott")
    assert await person.out("get", "bot", "-l", "app=other") == ""

    del person.env["SIGNALBOX_TOKEN"]
    for command in (["get", "bots"], ["apply", "-f", person.write("x.yaml", GHOST)], ["kinds"]):
        assert "you are not logged in" in await person.err(*command)
    assert "you are not logged in" in await person.err("diff", "-f", person.write("x.yaml", GHOST), code=2)


async def test_what_is_exported_can_be_applied(person: Person) -> None:
    await person.shop()
    for output in ("yaml", "json"):
        for export in ((), ("--export",)):
            text = await person.out("get", "all", "-o", output, *export)
            assert ("resourceVersion" in text) == (not export)
            path = person.write(f"again.{output}", text)
            done = await person.out("apply", "-f", path)
            assert set(done.splitlines()) == {
                "bot/clerk unchanged",
                "ghost/helper unchanged",
                "shell/chat unchanged",
            }
    text = await person.out("get", "ghosts", "-o", "yaml", "--export")
    assert list(yaml.safe_load(text)) == ["apiVersion", "kind", "metadata", "spec"]
    assert "systemPrompt: |\n    You are a bot.\n\n    - be kind  \n" in text
    assert "VERSION: '1e5'" in text
    assert "GITHUB_TOKEN: '***'" in text


async def test_namespaces(person: Person) -> None:
    await person.http.project(person.headers, "Market")
    slugs = {
        p["slug"] for p in (await person.http.get("/api/v1/projects", headers=person.headers)).json()["items"]
    }
    (market,) = slugs - {person.username}
    await person.shop()
    path = person.write("ghost.yaml", GHOST)
    assert "ghost/helper created" in await person.out("apply", "-f", path, "-n", market)
    header, *found = rows(await person.out("get", "ghosts", "-A"))
    assert header[:2] == ["NAMESPACE", "NAME"]
    assert {row[0] for row in found} == slugs
    person.env["SIGNALBOX_NAMESPACE"] = market
    assert await person.out("get", "all", "-o", "name") == "ghost/helper\n"
    everywhere = await person.out("get", "ghosts", "-A", "-o", "yaml", "--export")
    assert {each["metadata"]["namespace"] for each in yaml.safe_load_all(everywhere)} == slugs
    assert "There is no such project" in await person.err("get", "bots", "-n", "elsewhere")
    assert "goes without names" in await person.err("get", "bot", "clerk", "-A", code=2)


async def test_long_lists_come_as_a_whole(person: Person) -> None:
    documents = [
        f"apiVersion: signalbox.dev/v1\nkind: Shell\nmetadata: {{name: s{n:03}}}\nspec: {{shellType: Chat}}\n"
        for n in range(450)
    ]
    await person.run("apply", "-f", "-", stdin="---\n".join(documents))
    names = (await person.out("get", "shells", "-o", "name")).splitlines()
    assert names == [f"shell/s{n:03}" for n in range(450)]


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


async def test_what_goes_on_is_followed(installation: Installation, tmp_path: Path) -> None:
    async with person_of(installation, tmp_path, command_patience=0.0) as person:
        await person.shop()
        assert await person.out("delete", "bot", "clerk") == "bot/clerk deleted\n"
        assert await person.out("restore", "bot", "clerk") == "bot/clerk restored\n"
        assert "It is referred to by bot clerk" in await person.err("delete", "ghost", "helper")


# -- edit -------------------------------------------------------------------------------------------------


async def test_edit(person: Person, tmp_path: Path) -> None:
    await person.shop()
    person.editor("text = text.replace('be quick', 'be slow')")
    assert await person.out("edit", "ghost", "helper") == "ghost/helper edited\n"
    found = (await person.json("get", "ghost", "helper"))["spec"]
    assert found["systemPrompt"] == PROMPT.replace("quick", "slow")
    assert found["mcpServers"]["github"]["env"] == {"GITHUB_TOKEN": "***", "VERSION": "1e5"}
    told = await person.out("history", "ghost/helper", "--generation", "2")
    assert "GITHUB_TOKEN" not in told, "the key stays as it was"
    person.editor("pass")
    assert await person.out("edit", "ghost/helper") == "edit cancelled, nothing changed\n"
    first, second = (
        "text.replace('ghostRef:', 'ghost:')",
        "text.replace('ghost:', 'ghostRef:').replace('Sells.', 'Sells more.')",
    )
    person.editor(f"text = {second} if 'This was not taken' in text else {first}")
    assert await person.out("edit", "bot", "clerk") == "bot/clerk edited\n"
    assert (await person.json("get", "bot", "clerk"))["spec"]["description"] == "Sells more."
    assert list(tmp_path.glob("signalbox-*")) == []

    other = person.write("other.yaml", BOT.replace("Sells.", "Sells other things."))
    command = [*CLI, "apply", "-f", other]
    person.env["LATE"] = json.dumps(command)
    person.editor(
        "import subprocess, os, json; subprocess.run(json.loads(os.environ['LATE']), check=True, "
        "stdout=subprocess.DEVNULL); text = text.replace('Sells more.', 'Sells late.')"
    )
    told = await person.err("edit", "bot", "clerk")
    assert "Somebody else has changed it in the meantime" in told
    kept = Path(told.strip().split("your text is in ")[1])
    assert "Sells late." in kept.read_text(encoding="utf-8")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert (await person.json("get", "bot", "clerk"))["spec"]["description"] == "Sells other things."


# -- kinds, explain, skills, watch ------------------------------------------------------------------------


async def test_kinds_and_their_fields(person: Person) -> None:
    header, *found = rows(await person.out("kinds"))
    assert header == ["NAME", "SHORT", "VERSION", "KIND", "DESCRIPTION"]
    assert {"ghosts", "models", "shells", "bots", "teams", "skills"} <= {row[0] for row in found}
    assert await person.out("api-resources") == await person.out("kinds")
    assert {"kind", "plural", "shortNames"} <= json.loads(await person.out("kinds", "--json"))[0].keys()
    assert "ghostRef <object> -required-" in await person.out("explain", "bot.spec")
    assert "botRef <object> -required-\n" in await person.out("explain", "team", "--recursive")
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
