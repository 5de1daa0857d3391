"""A sandbox on a repository: git inside works as in any clone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest

from signalbox_common.testing import eventually, running
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.node import Node
from tests.support.remotes import add_commit, answering
from tests.support.repositories import GitScene, git_scene
from tests.support.sandboxes import SandboxScene, service_of


@dataclass
class WorkspaceScene:
    git: GitScene
    sandboxes: SandboxScene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WorkspaceScene]:
    node = Node.new()
    await node.start()
    folder = node.folder.parent / "git"
    folder.mkdir()
    try:
        async with (
            git_scene(shared_installation, folder) as scene,
            scene.service(),
            running(service_of(shared_installation, node, trees=folder / "trees")),
        ):
            person = (scene.http, "", scene.headers, scene.project)
            yield WorkspaceScene(scene, SandboxScene(shared_installation, node, *person))
    finally:
        await node.stop()


async def test_git_works_inside(there: WorkspaceScene) -> None:
    remote = there.git.remote.new("app.git", {"a.txt": "one\n", "run.sh": "echo ran\n"})
    commit = add_commit(remote, {"a.txt": "two\n"}, message="Second")
    repository = await there.git.add("app.git")
    made = await there.sandboxes.create(repository="app", newBranch="task/1")
    assert (made["branchName"], made["repoUrl"]) == ("task/1", repository["url"])
    said = there.sandboxes.said
    assert await said(made["id"], "git status --short --branch") == "## task/1\n"
    assert await said(made["id"], "git log --format=%H -1") == f"{commit}\n"
    assert await said(made["id"], "git diff HEAD~1 --stat | tail -1") == (
        " 1 file changed, 1 insertion(+), 1 deletion(-)\n"
    )
    assert await said(made["id"], "sh run.sh; echo three > a.txt; git diff --name-only") == "ran\na.txt\n"
    committed = await said(made["id"], "git commit -qam Third && git log --format='%s by %an' -2")
    assert committed == "Third by Agent\nSecond by a\n"
    assert await said(made["id"], "git switch -qc other && git branch --format='%(refname:short)'") == (
        "other\ntask/1\n"
    )
    other = await there.sandboxes.create(repository=repository["id"], ref="main~1")
    assert await said(other["id"], "cat a.txt") == "one\n"
    again = await there.sandboxes.create(repository="app", newBranch="task/1")
    assert await said(again["id"], "cat a.txt; git status --short") == "two\n"
    assert git(remote, "rev-parse", "main").strip() == commit


async def test_nothing_to_begin_with(there: WorkspaceScene) -> None:
    await there.git.add("none.git")
    refused = await there.sandboxes.create(status=409, repository="none", ref="nowhere")
    assert refused["code"] == "checkout_failed"
    unknown = await there.sandboxes.create(status=404, repository="unknown")
    assert unknown["code"] == "repository_not_found"
    bad = await there.sandboxes.create(status=422, repository="none", ref="--all")
    assert bad["code"] == "validation_failed"


async def test_it_learns_what_it_begins_with_when_that_comes_late(there: WorkspaceScene) -> None:
    there.git.remote.new("late.git")
    await there.git.add("late.git")
    there.git.remote.behaviours.append(partial(answering, 503, "late.git"))
    try:
        made = await there.sandboxes.create(status=202, repository="late")
    finally:
        there.git.remote.behaviours.clear()
    assert made["status"] == "creating"
    found = await there.sandboxes.until(made["id"], "running")
    assert found["branchName"] == "main"
    assert await there.sandboxes.said(made["id"], "git status --short") == ""


async def test_it_does_not_wait_for_what_never_comes(there: WorkspaceScene) -> None:
    there.git.remote.new("never.git")
    await there.git.add("never.git")
    there.git.remote.behaviours.append(partial(answering, 503, "never.git"))
    try:
        made = await there.sandboxes.create(status=202, repository="never")
        there.git.remote.behaviours[:] = [partial(answering, 404, "never.git")]
        found = await there.sandboxes.until(made["id"], "failed")
    finally:
        there.git.remote.behaviours.clear()
    assert found["reason"] == "no_checkout"


async def test_its_tree_stays_as_long_as_it_is_there(there: WorkspaceScene) -> None:
    await there.git.add("stays.git")
    made = await there.sandboxes.create(repository="stays")
    async with there.git.installation.sql() as connection:
        held = await connection.fetchval(
            "select count(*) from git.checkout_sandboxes where sandbox = $1 and not ended", made["id"]
        )
        assert held == 1
        await there.sandboxes.change(made["id"], "destroy")
        ended = "select ended from git.checkout_sandboxes where sandbox = $1"

        async def told() -> bool:
            return bool(await connection.fetchval(ended, made["id"]))

        await eventually(told, what="git knows that it has ended")
