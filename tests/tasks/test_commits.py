"""Commits that were made inside, and how they get to the remote."""

import pytest

from tests.support.checkouts import git
from tests.support.tasks import TaskScene

pytestmark = pytest.mark.usefixtures("patient")

TWO = """
git config user.name Bot; git config user.email bot@example.org
echo 2 > a.txt; git commit -qam "Count on"
echo b > b.txt; git add b.txt; git commit -qm "Add another"
"""


async def test_commits_stay_as_they_were_made(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n", ".gitignore": "left.out\n"})
    script = f"{TWO} git rev-parse HEAD; echo c > c.txt; echo x > left.out"
    made = await there.create(repository=repository, branch="kept", commits="keep", exec={"script": script})
    await there.ended(made)
    told = git(remote, "log", "--format=%an: %s", "main..kept").splitlines()
    assert told[0].startswith("user-")  # whoever asked
    assert told[0].endswith(": Do it")
    assert told[1:] == ["Bot: Add another", "Bot: Count on"]
    assert git(remote, "rev-parse", "kept^").strip() in await there.log(made["runId"])
    assert git(remote, "ls-tree", "--name-only", "kept").split() == [".gitignore", "a.txt", "b.txt", "c.txt"]
    diff = await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    assert [name in diff for name in ("b/a.txt", "b/b.txt", "b/c.txt", "left.out")] == [True] * 3 + [False]
    await there.nothing_is_left()


async def test_without_any_commit_there_is_one_or_none(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    keep = {"repository": repository, "commits": "keep"}
    changed = await there.create(**keep, branch="one", title="Say it", exec={"script": "echo 2 > a.txt"})
    nothing = await there.create(**keep, branch="none", exec={"script": "touch a.txt"})
    await there.ended(changed)
    assert git(remote, "log", "--format=%s", "main..one") == "Say it\n"
    await there.ended(nothing)
    assert (await there.run(nothing["runId"]))["note"] == "There was nothing to commit."
    assert git(remote, "for-each-ref", "refs/heads/none") == ""


async def squashed(there: TaskScene, run: str) -> None:
    path = f"/api/v1/runs/{run}/deliver"
    await there.ask("POST", path, status=201, json={"commits": "squash"})


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("git commit -q --amend -m Mine; echo 2 > a.txt", "delivery_refused"),
        ("rm -rf .git; echo 2 > a.txt", "commits_failed"),
        ("git config core.fsmonitor 'exit 1'; echo 2 > a.txt; chmod 0 .git/objects", "commits_failed"),
    ],
)
async def test_commits_that_cannot_be_kept(there: TaskScene, script: str, code: str) -> None:
    """What they have changed is there all the same, and becomes one commit where somebody says so."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    named = "git config --global user.name Bot; git config --global user.email bot@example.org; "
    made = await there.create(
        repository=repository, branch="apart", commits="keep", exec={"script": named + script}
    )
    failed = await there.ended(made, "failed")
    assert failed["error"]["code"] == code
    assert "+2" in await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    await squashed(there, made["runId"])
    await there.ended(made)
    assert git(remote, "log", "--format=%s", "main..apart") == "Do it\n"
    assert git(remote, "show", "apart:a.txt") == "2\n"
    await there.nothing_is_left()
