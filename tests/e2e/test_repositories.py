"""Repositories of a running stack, from the command line."""

import json
import subprocess
import uuid
from pathlib import Path

from tests.support.checkouts import git
from tests.support.remotes import add_commit, new_repository
from tests.support.stack import Stack


async def test_from_added_to_forgotten(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    path = new_repository(stack.home.path / "repositories" / "app.git", {"src/a.py": "a = 1\n"})
    new = add_commit(path, {"src/a.py": "a = 2\n", "bücher.txt": "b\n"}, message="Count on\n\nWith a reason.")
    git(path, "branch", "topic", "main~1")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        ran = stack.run("repo", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran

    added = json.loads(run("add", str(path), "--json", "--setup", "make setup").stdout)
    assert (added["name"], added["status"], added["defaultBranch"]) == ("app", "ready", "main")
    try:
        assert "ready" in run("ls").stdout
        assert "make" not in run("show", "app").stdout
        assert "2 branches" in run("test", "app").stdout
        assert "Count on" in run("log", "app").stdout
        assert [each["id"] for each in json.loads(run("log", "app", "--limit", "1", "--json").stdout)] == [
            new
        ]
        assert "-a = 1\n+a = 2\n" in run("diff", "app").stdout
        assert "+a = 2" in run("diff", "app", "topic", "main", "--path", "src/a.py").stdout
        assert run("diff", "app", "main", "topic").stdout == ""
        shown = run("show", "app", "main").stdout
        assert "With a reason." in shown
        assert "M src/a.py" in shown
        assert run("show", "app", "topic:src/a.py").stdout == "a = 1\n"
        assert run("show", "app", "main:").stdout.split() == ["bücher.txt", "src/"]
        assert "* main" in run("branches", "app").stdout
        newest = add_commit(path, {"c": "c\n"})
        assert "it is here" in run("fetch", "app").stdout
        assert json.loads(run("log", "app", "--limit", "1", "--json").stdout)[0]["id"] == newest
        made = run("branch", "app", "next", "main~1").stdout
        assert made.startswith("branch next: ")
        assert git(path, "rev-parse", "next").strip() in made
        assert json.loads(run("merge", "app", "main", "next", "--json").stdout)["commitSha"] == newest
        picked = run("cherry-pick", "app", "main", "next").stdout
        assert picked == "cherry-pick next: it was so before\n"
        run("revert", "app", newest, "next", "-m", "Not yet")
        author = git(path, "log", "-1", "--format=%an|%s", "next").strip()
        assert (author.endswith("|Not yet"), author.startswith("|")) == (True, False)
        run("tag", "app", "v1", "main", "-m", "One")
        assert git(path, "cat-file", "-t", "v1").strip() == "tag"
        run("tag", "app", "v1", "--delete")
        run("branch", "app", "next", "--delete")
        assert git(path, "for-each-ref", "--format=%(refname:short)").split() == ["main", "topic"]
        assert "bytes freed" in run("cleanup", "app").stdout
        refused = stack.run("repo", "branch", "app", "topic")
        assert (refused.returncode, "topic already" in refused.stderr) == (1, True)
        last, *_, first = json.loads(run("operations", "app", "--json").stdout)
        assert (last["error"]["code"], first["operationType"]) == ("ref_exists", "fetch")
        assert last["id"] in run("operations", "app").stdout
        assert stack.run("repo", "operations", "app", "--cancel", last["id"]).returncode == 1
        unknown = stack.run("repo", "show", "app", "nowhere")
        assert (unknown.returncode, "no such branch" in unknown.stderr) == (1, True)
        token = tmp_path / "token"
        token.write_text("a-token\n")
        away = stack.run("repo", "add", "https://127.0.0.1/a/b.git", "--token-file", str(token))
        assert away.returncode == 1
        assert "not public" in away.stderr
        assert "a-token" not in away.stdout + away.stderr
        assert stack.run("repo", "add", "file:///etc").returncode == 1
    finally:
        run("rm", "app")
    run("rm", "b")
    assert json.loads(run("ls", "--json").stdout) == []


async def test_pull_requests_and_credentials(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    path = new_repository(stack.home.path / "repositories" / "acme" / "pulls.git")
    git(path, "branch", "topic")
    token = tmp_path / "token"
    token.write_text("a-token\n")

    def run(*arguments: str) -> str:
        ran = stack.run(*arguments)
        assert ran.returncode == 0, ran.stderr
        assert "a-token" not in ran.stdout + ran.stderr
        return ran.stdout

    run("credential", "add", "Forge.example", "--token-file", str(token), "--forge", "gitea")
    assert "forge.example" in run("credential", "ls")
    assert stack.run("credential", "repos", "forge.example").returncode == 1
    run("credential", "rm", "forge.example")
    assert json.loads(run("credential", "ls", "--json")) == []
    api = "http://127.0.0.1:9/api/v3"  # an address that no forge may be asked at here
    run("repo", "add", str(path), "--forge", "github", "--api-url", api, "--token-file", str(token))
    try:
        refused = stack.run("pr", "open", "pulls", "topic", "--title", "Look at this")
        assert (refused.returncode, "not public" in refused.stderr) == (1, True)
        assert json.loads(run("pr", "ls", "pulls", "--json")) == []
        assert stack.run("pr", "show", "pulls", "1").returncode == 1
    finally:
        run("repo", "rm", "pulls")


async def test_deliveries_and_what_counts_for_them(stack: Stack, tmp_path: Path) -> None:
    await stack.become_admin()
    path = new_repository(stack.home.path / "repositories" / "delivered.git")
    key, template = tmp_path / "key", tmp_path / "template"
    template.write_text("{title}\n\n{message}\n")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def run(*arguments: str) -> str:
        ran = stack.run("repo", *arguments)
        assert ran.returncode == 0, ran.stderr
        assert "PRIVATE" not in ran.stdout + ran.stderr
        return ran.stdout

    run("add", str(path))
    try:
        assert json.loads(run("deliveries", "delivered", "--json")) == []
        for option in ("--diff", "--retry"):
            unknown = stack.run("repo", "deliveries", "delivered", option, str(uuid.uuid4()))
            assert (unknown.returncode, "no such delivery" in unknown.stderr) == (1, True)
        given = ("--findings", "warn", "--sign-off", "--template-file", str(template))
        run("policy", "delivered", *given, "--signing-key-file", str(key))
        run("policy", "delivered", "--largest-file", "20")
        found = json.loads(run("policy", "delivered"))
        assert found.pop("signedBy") == " ".join((tmp_path / "key.pub").read_text().split()[:2])
        assert found == {
            "findings": "warn",
            "largestFile": 20,
            "signOff": True,
            "commitTemplate": "{title}\n\n{message}\n",
        }
        assert json.loads(run("policy", "delivered", "--remove-signing-key"))["signedBy"] is None
    finally:
        run("rm", "delivered")
