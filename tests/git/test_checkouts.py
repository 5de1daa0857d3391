"""Checkouts: from what is asked for to a sandbox that works in one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus
from signalbox_common.bus.client import Envelope
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.auth import GetGrant
from signalbox_common.contracts.git import Checkout, CheckoutState
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.repositories import GitScene, git_scene


class CheckoutScene:
    """Somebody who asks git itself, as the gateway and tasks do."""

    def __init__(self, scene: GitScene, bus: Bus) -> None:
        self.scene = scene
        self._bus = bus

    async def _grant(self, headers: dict[str, str] | None = None, project: str | None = None) -> str:
        token = (headers or self.scene.headers)["Authorization"].removeprefix("Bearer ")
        where = uuid.UUID(project or self.scene.project)
        asked = GetGrant(token=SecretStr(token), audience="git", project=where)
        return (await self._bus.query(asked)).value().grant

    async def prepare(self, repository: str, **more: Any) -> Checkout:
        command = contract.Prepare(repository=uuid.UUID(repository), **more)
        sending = Envelope(uuid7(), "digest", grant=await self._grant())
        answer = await self._bus.send(command, sending, patience=20)
        assert answer is not None
        return answer.value()

    async def get(self, checkout: uuid.UUID) -> Checkout:
        query = contract.GetCheckout(checkout=checkout)
        return (await self._bus.query(query, grant=await self._grant())).value()

    async def ended(self, checkout: Checkout) -> Checkout:
        async def so() -> Checkout | None:
            found = await self.get(checkout.checkout)
            return found if found.state is not CheckoutState.PREPARING else None

        found = await eventually(so, what="the checkout is prepared")
        assert found is not None
        return found

    async def prepared(self, repository: str, **more: Any) -> Checkout:
        found = await self.ended(await self.prepare(repository, **more))
        assert found.state is CheckoutState.READY, found.error
        return found

    def tree(self, checkout: Checkout) -> Path:
        place = self.scene.folder / "trees" / self.scene.project / "checkouts" / str(checkout.checkout)
        return place.resolve()


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CheckoutScene]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(checkout_kept=0.0),
        shared_installation.bus() as bus,
    ):
        yield CheckoutScene(scene, bus)


async def test_it_begins_where_it_is_told(there: CheckoutScene) -> None:
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


async def test_what_was_pushed_a_moment_ago_is_there(there: CheckoutScene) -> None:
    remote = there.scene.remote.new("moment.git")
    repository = (await there.scene.add("moment.git"))["id"]
    await there.scene.ready(repository)
    new = add_commit(remote, {"new": "new\n"}, branch="just-now")
    assert (await there.prepared(repository, ref="just-now")).commit == new


async def test_a_hundred_at_once_have_one_fetch_and_one_tree(there: CheckoutScene) -> None:
    there.scene.remote.new("many.git")
    repository = (await there.scene.add("many.git"))["id"]
    await there.scene.ready(repository)
    add_commit(there.scene.remote.folder / "many.git", {"new": "new\n"})
    await asyncio.sleep(2.1)  # what was fetched before is too old for them
    there.scene.remote.requests.clear()
    found = await asyncio.gather(*(there.prepared(repository) for _ in range(100)))
    assert len({there.tree(each) for each in found}) == 1
    packs = [each for each in there.scene.remote.requests if each.startswith("POST /many.git")]
    assert len(packs) <= 6, "one fetch, and one more where they took longer than it stays fresh"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ref": "nowhere"}, "revision_not_found"),
        ({"ref": "0" * 40}, "revision_not_found"),
        ({"lfs": True}, "lfs_unavailable"),
        ({"submodules": True}, "submodules_unavailable"),
    ],
)
async def test_why_it_cannot_be(there: CheckoutScene, asked: dict[str, Any], code: str) -> None:
    name = f"cannot-{uuid.uuid4().hex[:6]}.git"
    repository = (await there.scene.add(name))["id"]
    found = await there.ended(await there.prepare(repository, **asked))
    assert found.state is CheckoutState.FAILED
    assert found.error is not None
    assert (found.error.code, found.error.retryable) == (code, False)


async def test_of_a_remote_that_refuses(there: CheckoutScene) -> None:
    repository = (await there.scene.add("refuses.git", credential={"token": "wrong"}))["id"]
    found = await there.ended(await there.prepare(repository))
    assert found.error is not None
    assert (found.error.code, found.error.detail) == ("checkout_failed", "The credential is not taken.")


async def test_runs_are_for_tasks_alone(there: CheckoutScene) -> None:
    repository = (await there.scene.add("runs.git"))["id"]
    with pytest.raises(SignalboxError) as refusal:
        await there.prepare(repository, run=uuid.uuid4())
    assert refusal.value.code == "run_reserved"


async def test_what_nobody_has_goes_and_what_somebody_has_stays(there: CheckoutScene) -> None:
    """Both as their rows say, and as the locks of sandboxes do."""
    repository = (await there.scene.add("goes.git"))["id"]
    gone, stays = await there.prepared(repository), await there.prepared(repository, new_branch="stays")
    async with there.scene.installation.sql() as connection:
        await connection.execute(
            "insert into git.checkout_sandboxes values ($1, $2, 1, false)", uuid.uuid4(), stays.checkout
        )
    trees = there.tree(gone), there.tree(stays)
    await sweep(there)

    async def let_go() -> bool:
        await sweep(there)
        return not there.tree(gone).exists()

    await eventually(let_go, what="it is let go")
    assert trees[1].is_dir()
    assert there.tree(stays) == trees[1]


async def sweep(there: CheckoutScene) -> None:
    async with there.scene.installation.sql() as connection:
        await connection.execute("update git.work set due_at = git.clock() where kind = 'sweep'")
