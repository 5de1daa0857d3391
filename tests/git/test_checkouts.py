"""Checkouts: from what is asked for to a sandbox that works in one."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.contracts.git import CheckoutState
from signalbox_common.errors import SignalboxError
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.git_person import GitPerson
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.repositories import git_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitPerson]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        yield GitPerson(scene, bus)


async def test_it_begins_where_it_is_told(there: GitPerson) -> None:
    remote = there.scene.remote.new("begin.git")
    topic = add_commit(remote, {"t": "t\n"}, branch="topic")
    git(remote, "tag", "v1", "main")
    main = git(remote, "rev-parse", "main").strip()
    repository = (await there.scene.add("begin.git"))["id"]
    expected: tuple[tuple[dict[str, Any], str, str, str], ...] = (
        ({}, main, "main", "main"),
        ({"ref": "topic"}, topic, "topic", "topic"),
        ({"ref": "topic", "new_branch": "task/1"}, topic, "task/1", "topic"),
        ({"ref": "v1", "new_branch": "task/2"}, main, "task/2", "v1"),
        ({"ref": main, "branch": "topic"}, topic, "topic", "topic"),
        ({"ref": "v1", "branch": "task/3"}, main, "task/3", "v1"),
    )
    for asked, commit, branch, base in expected:
        found = await there.prepared(repository, **asked)
        assert (found.commit, found.branch, found.base) == (commit, branch, base)
        assert (there.tree(found) / "git" / "HEAD").read_text() == f"ref: refs/heads/{branch}\n"
    detached = await there.prepared(repository, ref=topic)
    assert (detached.commit, str(detached.branch).startswith("checkout-")) == (topic, True)
    told = [
        each
        for each in await there.scene.facts("checkout.changed")
        if each["checkout"] == str(detached.checkout)
    ]
    assert [(each["state"], each["version"]) for each in told] == [("preparing", 1), ("ready", 2)]


async def test_what_was_pushed_a_moment_ago_is_there(there: GitPerson) -> None:
    remote = there.scene.remote.new("just-now.git")
    repository = (await there.scene.add("just-now.git"))["id"]
    await there.scene.ready(repository)
    new = add_commit(remote, {"new": "new\n"}, branch="just-now")
    assert (await there.prepared(repository, ref="just-now")).commit == new


async def test_a_hundred_at_once_have_one_fetch_and_one_tree(there: GitPerson) -> None:
    there.scene.remote.new("many.git")
    repository = (await there.scene.add("many.git"))["id"]
    await there.scene.ready(repository)
    add_commit(there.scene.remote.folder / "many.git", {"new": "new\n"})
    (note,) = there.scene.folder.glob(f"mirrors/*/{repository}-*/note.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"begun": 0.0}))  # too old for them
    before = there.scene.remote.packs
    found = await asyncio.gather(*(there.prepared(repository) for _ in range(100)))
    assert len({there.tree(each) for each in found}) == 1
    assert there.scene.remote.packs - before == 1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ref": "nowhere"}, "revision_not_found"),
        ({"ref": "0" * 40}, "revision_not_found"),
    ],
)
async def test_why_it_cannot_be(there: GitPerson, asked: dict[str, Any], code: str) -> None:
    name = f"cannot-{uuid.uuid4().hex[:6]}.git"
    repository = (await there.scene.add(name))["id"]
    found = await there.settled(await there.prepare(repository, **asked))
    assert found.state is CheckoutState.FAILED
    assert found.error is not None
    assert (found.error.code, found.error.retryable) == (code, False)


async def test_of_a_remote_that_refuses(there: GitPerson) -> None:
    repository = (await there.scene.add("refuses.git", credential={"token": "wrong"}))["id"]
    found = await there.settled(await there.prepare(repository))
    assert found.error is not None
    assert (found.error.code, found.error.detail) == ("checkout_failed", "The credential is not taken.")


async def test_runs_are_for_tasks_alone(there: GitPerson) -> None:
    repository = (await there.scene.add("runs.git"))["id"]
    with pytest.raises(SignalboxError) as refusal:
        await there.prepare(repository, run=uuid.uuid4())
    assert refusal.value.code == "run_reserved"


async def test_what_nobody_has_goes_and_what_somebody_has_stays(there: GitPerson) -> None:
    """Both as their rows say, and as the locks of sandboxes do."""
    repository = (await there.scene.add("goes.git"))["id"]
    gone, stays = await there.prepared(repository), await there.prepared(repository, new_branch="stays")
    async with there.scene.installation.sql() as connection:
        await connection.execute(
            "insert into git.checkout_sandboxes values ($1, $2, 1, false)", uuid.uuid4(), stays.checkout
        )
    trees = there.tree(gone), there.tree(stays)

    async def let_go() -> bool:
        return not trees[0].exists()

    async with there.scene.service(checkout_kept=0.0, checkout_sweep=0.2):
        await eventually(let_go, what="it is let go")
    assert there.tree(stays) == trees[1]
    assert trees[1].is_dir()


async def test_of_a_mirror_that_is_broken(there: GitPerson) -> None:
    there.scene.remote.new("harmed.git")
    repository = (await there.scene.add("harmed.git"))["id"]
    await there.scene.ready(repository)
    (mirror,) = there.scene.folder.glob(f"mirrors/*/{repository}-*")
    for path in (*mirror.glob("git/objects/pack/*"), *mirror.glob("git/objects/??/*")):
        path.unlink()
    found = await there.prepared(repository)
    assert (there.tree(found) / "tree" / "README.md").read_text() == "hello\n"


async def test_a_branch_of_a_moment_ago_is_gone_on_with(there: GitPerson) -> None:
    """However fresh what was fetched before is: whoever goes on with it must not begin elsewhere."""
    remote = there.scene.remote.new("gone-on-with.git")
    repository = (await there.scene.add("gone-on-with.git"))["id"]
    await there.prepared(repository)
    for number in range(3):
        newest = add_commit(remote, {"t": f"{number}\n"}, branch="topic")
        found = await there.prepared(repository, branch="topic", ref="main")
        assert (found.commit, found.base) == (newest, "topic")
