"""The commands, against the gateway: apply, diff, get, edit."""

import json
import re
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.support.installation import Installation
from tests.support.shopkeeper import BOT, GHOST, PROMPT, SHELL, TEAM, Person, person_of, rows
from tests.support.stack import CLI


@pytest.fixture
async def person(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Person]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with person_of(installation, tmp_path) as somebody:
        yield somebody


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


async def test_warnings_name_the_file_and_its_line_and_strict_refuses(person: Person) -> None:
    person.write("shop/a.yaml", SHELL)
    person.write("shop/ghost.yaml", GHOST.rstrip("\n") + "\n  skils: [lint]\n")
    folder = str(person.folder / "shop")
    line = GHOST.rstrip("\n").count("\n") + 2
    told = f"{folder}/ghost.yaml:{line}: spec.skils: There is no such field. Did you mean skills?"
    refused = await person.err("apply", "-f", folder, "--strict")
    assert refused.splitlines() == [told, "signalbox: nothing was changed"]
    applied = await person.run("apply", "-f", folder)
    assert applied.stderr.splitlines() == [f"warning: {told}"]
    assert "ghost/helper created\n" in applied.stdout


async def test_diff_tells_what_apply_would_do(person: Person) -> None:
    await person.shop()
    same = str(person.folder / "shop")
    assert await person.out("diff", "-f", same) == "", "a key in a file counts as no difference: nobody tells"
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
    assert await person.out("diff", "-f", key) == "", "nor does another one"
    other_key = GHOST.replace("ghp_0123456789abcdef", "ghp_fedcba9876543210")
    key = person.write("key.yaml", other_key + "---\n" + TEAM)
    told = await person.out("diff", "-f", key, code=1)
    assert "team/staff would be created" in told
    assert "ghp_" not in told
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
