"""A very large repository, from its first fetch to what is pushed there: nobody misses what was left out."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import READ_CHANGES_DIFF, READ_DELIVERY_DIFF, CheckoutState, DeliveryState
from signalbox_common.testing import eventually
from signalbox_git.mirrors.mirror import Mirror
from tests.support.bundles import Workshop
from tests.support.checkouts import git
from tests.support.commits import packed
from tests.support.git_deaths import Killer, back_again, served
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.large_history import LARGE, MIB, LargeHistory, notes
from tests.support.operations import OperationPerson
from tests.support.repositories import GitScene, git_scene
from tests.support.submodules import add_modules

BOUND_MB = 1


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.fixture(scope="module")
async def there(scene: GitScene, shared_installation: Installation) -> AsyncIterator[GitPerson]:
    async with (
        scene.service(partial_mb=BOUND_MB, mirror_freshness=3600.0),
        shared_installation.bus() as bus,
    ):
        yield GitPerson(scene, bus)


@pytest.fixture(scope="module")
def history(scene: GitScene) -> LargeHistory:
    return LargeHistory.make(scene.remote, "original.git", commits=14, size=MIB // 2)


async def placed(scene: GitScene, history: LargeHistory, name: str) -> Place:
    """At an address of its own, and fetched."""
    own = history.copy(name)
    place = Place(scene, own.folder, (await scene.add(name))["id"])
    await scene.ready(place.repository)
    mirror = mirror_of(scene, place)
    assert mirror.is_partial
    assert mirror.size() < BOUND_MB * MIB
    return place


@pytest.fixture(scope="module")
async def shared(there: GitPerson, history: LargeHistory) -> Place:
    """For those who change nothing there."""
    return await placed(there.scene, history, "shared.git")


def mirror_of(scene: GitScene, place: Place) -> Mirror:
    (found,) = [path for path in scene.mirrors if path.name.startswith(place.repository)]
    return Mirror(found)


async def test_a_checkout_is_whole(there: GitPerson, shared: Place, history: LargeHistory) -> None:
    place, before = shared, mirror_of(there.scene, shared).size()
    found = await there.prepared(place.repository, depth=1)
    tree = there.tree(found)
    wanted = git(place.remote, "ls-tree", "-r", "--name-only", "main").split()
    laid_out = {path.relative_to(tree / "tree") for path in (tree / "tree").rglob("*") if path.is_file()}
    assert {*map(str, laid_out)} == {*wanted}
    assert (tree / "tree" / "notes.txt").read_bytes() == notes(history.lines)
    work = (f"--git-dir={tree / 'git'}", f"--work-tree={tree / 'tree'}")
    assert git(tree / "tree", *work, "status", "--porcelain") == ""
    assert git(tree / "tree", *work, "rev-list", "--count", "HEAD").strip() == "1"
    git(tree, *work, "fsck", "--full")
    assert mirror_of(there.scene, place).size() < before + MIB // 4
    deeper = await there.prepared(place.repository, depth=3)
    assert (
        git(tree, f"--git-dir={there.tree(deeper) / 'git'}", "log", "-p", "--format=%s").count("diff --git")
        >= 6
    )
    old = await there.prepared(place.repository, ref="main~4", depth=1)
    assert (there.tree(old) / "tree" / LARGE).read_bytes() == history.large[-4]


async def _fetched_once(there: GitPerson, place: Place, revision: str, count: int) -> None:
    before = there.scene.remote.packs
    commit = git(place.remote, "rev-parse", revision).strip()
    preparing = (there.prepare(place.repository, ref=commit, depth=2) for _ in range(count))
    for each in await asyncio.gather(*preparing):
        assert (await there.settled(each)).state is CheckoutState.READY
    assert there.scene.remote.packs == before + 1


async def test_all_checkouts_have_their_files_fetched_once(there: GitPerson, shared: Place) -> None:
    await _fetched_once(there, shared, "main~5", 10)


@pytest.mark.proof
async def test_a_hundred_have_their_files_fetched_once(there: GitPerson, shared: Place) -> None:
    await _fetched_once(there, shared, "main~10", 100)


async def test_what_is_old_is_looked_at(there: GitPerson, shared: Place, history: LargeHistory) -> None:
    place, before = shared, mirror_of(there.scene, shared).size()
    ask, at = there.scene.ask, f"/{place.repository}"
    listed = await ask("GET", f"{at}/tree", params={"path": "data", "ref": "main~7"})
    assert [(each["path"], each["size"]) for each in listed["items"]] == [(LARGE, None)]
    content = await ask("GET", f"{at}/file", params={"path": LARGE, "ref": "main~8"})
    assert content == history.large[-8]
    assert mirror_of(there.scene, place).size() < before + MIB
    params = {"base": "main~12", "head": "main~10", "path": "notes.txt"}
    number = history.lines - 11
    assert f"+line {number}\n".encode() in await ask("GET", f"{at}/diff", params=params)
    shown = await ask("GET", f"{at}/commit", params={"ref": "main~9"})
    counts = {each["path"]: each["added"] for each in shown["files"]}
    assert (counts["notes.txt"], counts[LARGE]) == (1, None)
    blame = await ask("GET", f"{at}/blame", params={"path": "notes.txt"})
    assert [(each["first"], each["count"]) for each in blame["items"]] == [
        (line, 1) for line in range(1, history.lines + 1)
    ]
    own = git(place.remote, "diff-tree", "-p", "-r", "main~1", "main")
    assert (await ask("GET", f"{at}/diff", params={"head": "main"})).decode() == own
    for path, code in (("/file?path=nowhere", "path_not_found"), ("/blame?path=src", "path_not_found")):
        assert (await ask("GET", f"{at}{path}", status=404))["code"] == code


async def test_a_delivery_goes_on_top(there: GitPerson, history: LargeHistory) -> None:
    place = await placed(there.scene, history, "delivery.git")
    base = git(place.remote, "rev-parse", "main~6").strip()
    changes = packed(base, {b"notes.txt": ("100644", b"first\n" + notes(history.lines - 6))})
    digest = await there.put(changes)
    where = {"sha256": digest, "repository": place.repository, "base": base}
    assert b"+first\n line 0\n" in await there.read(READ_CHANGES_DIFF, **where)
    done = await there.delivered(place.repository, base, digest)
    assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": done.commit})
    assert git(place.remote, "show", "task/1:notes.txt").encode() == b"first\n" + notes(history.lines - 6)
    git(place.remote, "fsck", "--full")
    git(place.remote, "update-ref", "refs/heads/task/2", "main")  # somebody was faster
    asked = {"branch": "task/2", "expected": base, "message": "Another one"}
    moved = await there.delivered(place.repository, base, changes, **asked)
    assert (moved.state, moved.branch) == (DeliveryState.PUSHED, "task/2")
    assert git(place.remote, "show", "task/2:notes.txt").encode() == b"first\n" + notes(history.lines)
    assert git(place.remote, "rev-parse", "task/2^") == git(place.remote, "rev-parse", "main")


async def test_a_delivery_takes_along_what_the_remote_has_no_branch_for(
    there: GitPerson, history: LargeHistory
) -> None:
    place = await placed(there.scene, history, "orphan.git")
    own = LargeHistory(place.remote, history.large, history.lines)
    own.add({"aside.bin": history.large[0]}, branch="aside", onto="main^0")
    aside = own.add({"aside.bin": b"small\n"}, branch="aside")
    await there.scene.ask("POST", f"/{place.repository}/fetch")
    git(place.remote, "update-ref", "-d", "refs/heads/aside")
    await there.scene.ask("POST", f"/{place.repository}/fetch")
    changes = packed(aside, {b"x": ("100644", b"x\n")})
    done = await there.delivered(place.repository, aside, changes)
    assert await mirror_of(there.scene, place).remove(), "room was needed"
    await there.scene.ask("POST", f"/{place.repository}/fetch")
    assert b"+x\n" in await there.read(READ_DELIVERY_DIFF, delivery=str(done.delivery))
    assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": done.commit}), done.error
    git(place.remote, "fsck", "--full")


async def test_commits_are_kept_in_it(there: GitPerson, history: LargeHistory, tmp_path: Path) -> None:
    place = await placed(there.scene, history, "bundle.git")
    workshop = Workshop(place.remote, tmp_path / "workshop")
    first = workshop.commit(place.base, {"a.txt": b"a\n"})
    merged = workshop.commit(first, {LARGE: history.large[3]}, "Merge", f"{place.base}~3")
    done = await there.bundle_delivered(place, workshop.bundle(place.base, merged), findings="allow")
    assert (done.state, done.commit) == (DeliveryState.PUSHED, merged), done.error
    git(place.remote, "fsck", "--full")


async def test_operations_have_what_they_need(there: GitPerson, history: LargeHistory) -> None:
    scene = there.scene
    place = await placed(scene, history, "operations.git")
    person = OperationPerson(scene)
    own = LargeHistory(place.remote, history.large, history.lines)
    old = own.commit("main~6")
    changed = b"first\n" + notes(history.lines - 6)
    own.add({"moved.txt": changed, "notes.txt": changed}, branch="topic", onto=old)
    merge = await person.done(place, type="merge", branch="main", source="topic", protected="allow")
    assert merge["changed"] is True
    assert git(place.remote, "show", "main:notes.txt").encode() == b"first\n" + notes(history.lines)
    revert = await person.done(place, type="revert", branch="topic", commit=old)
    assert git(place.remote, "rev-parse", f"{revert['commitSha']}:{LARGE}") == git(
        place.remote, "rev-parse", f"{old}~1:{LARGE}"
    )
    pick = await person.done(place, type="cherry-pick", branch="topic", commit=own.add({"c": b"c"}))
    assert git(place.remote, "show", f"{pick['commitSha']}:c") == "c"
    cleaned = await person.done(place, type="cleanup")
    assert cleaned["status"] == "succeeded"
    git(place.remote, "fsck", "--full")
    await mirror_of(scene, place).check()


@pytest.mark.proof
async def test_submodules_are_whole(there: GitPerson, history: LargeHistory) -> None:
    scene = there.scene
    inner = history.copy("inner.git")
    at = inner.commit("main~1")
    own = LargeHistory.make(scene.remote, "outer.git", commits=6, size=MIB // 2)
    add_modules(own.folder, ("inner", "lib/inner", "../inner.git", at))
    place = Place(scene, own.folder, (await scene.add("outer.git"))["id"])
    await scene.ready(place.repository)
    found = await there.prepared(place.repository, submodules=True, depth=1)
    assert (there.tree(found) / "tree/lib/inner" / LARGE).read_bytes() == history.large[-1]
    assert sum(Mirror(path).is_partial for path in scene.mirrors) >= 2


async def test_a_remote_that_is_away_is_said_to_be(there: GitPerson, history: LargeHistory) -> None:
    scene = there.scene
    place = await placed(scene, history, "away.git")
    mirror = mirror_of(scene, place)
    is_there = mirror.folder.stat().st_ino
    refusals: list[str] = []

    def away(handler: Any) -> bool:
        if "away.git" in handler.path:
            refusals.append(handler.path)
            handler.answer(503)
        return "away.git" in handler.path

    async def met(count: int) -> bool:
        return len(refusals) >= count

    scene.remote.behaviours.append(away)
    try:
        params = {"path": LARGE, "ref": "main~8"}
        refused = await scene.ask("GET", f"/{place.repository}/file", params=params, status=409)
        assert refused["code"] == "fetch_failed"
        begun = await there.prepare(place.repository, ref=place.base, depth=1)
        await eventually(partial(met, 2), what="the checkout has met it")
        delivery = await there.deliver(
            place.repository, place.base, packed(place.base, {b"x": ("100644", b"x")})
        )
        await eventually(partial(met, 3), what="the delivery has met it")
        assert (await scene.ask("GET", f"/{place.repository}/commits"))["items"]
    finally:
        scene.remote.behaviours.remove(away)
    assert (await there.settled(begun)).state is CheckoutState.READY
    assert (await there.ended(delivery)).state is DeliveryState.PUSHED
    assert await scene.ask("GET", f"/{place.repository}/file", params=params) == history.large[-8]
    assert mirror.folder.stat().st_ino == is_there


async def _killed(scene: GitScene, folder: Path, name: str, *, afterwards: bool) -> None:
    own = LargeHistory.make(scene.remote, name, commits=6, size=MIB // 2)
    async with served(scene, folder, {"SIGNALBOX_PARTIAL_MB": "1"}) as (person, service):
        place = Place(scene, own.folder, (await scene.add(name))["id"])
        await scene.ready(place.repository)
        mirror = mirror_of(scene, place)
        killer = Killer(service, "POST", f"{name}/git-upload-pack")
        hooks = scene.remote.afterwards if afterwards else scene.remote.behaviours
        hooks.append(killer)
        begun = await person.prepare(place.repository, ref=own.commit("main~1"), depth=1)
        await back_again(scene, service)
        hooks.remove(killer)
        found = await person.settled(begun)
        assert (killer.done, found.state) == (True, CheckoutState.READY)
        assert (person.tree(found) / "tree" / LARGE).read_bytes() == own.large[-1]
        assert mirror.is_partial
        await mirror.check()


@pytest.mark.proof
@pytest.mark.parametrize("afterwards", [False, True])
async def test_the_service_dies_while_files_come(
    scene: GitScene, tmp_path: Path, *, afterwards: bool
) -> None:
    await _killed(scene, tmp_path, f"killed-{afterwards}.git", afterwards=afterwards)
