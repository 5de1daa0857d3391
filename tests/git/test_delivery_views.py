"""What people see of deliveries, and what they can do about them; trees as bytes for other nodes."""

import io
import random
import tarfile
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import (
    GET_TREE,
    READ_CHANGES,
    READ_CHANGES_DIFF,
    DeliveryState,
)
from signalbox_common.errors import SignalboxError
from tests.support.bundles import Workshop
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.remotes import add_commit, answering
from tests.support.repositories import git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n"), b"a.bin": ("100644", b"\0\1")}


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


async def asked(there: GitPerson, method: str, path: str, status: int = 200, **more: Any) -> Any:
    headers = more.pop("headers", there.scene.headers)
    answer = await there.scene.http.request(method, f"/api/v1{path}", headers=headers, **more)
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content


async def test_deliveries_are_listed_and_shown(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    done = [
        await there.delivered(
            place.repository, place.base, packed(place.base, CHANGES), branch=f"b{number}", findings="allow"
        )
        for number in range(3)
    ]
    first = await asked(there, "GET", f"/repositories/{place.repository}/deliveries", params={"limit": 2})
    rest = await asked(
        there, "GET", f"/repositories/{place.repository}/deliveries", params={"cursor": first["nextCursor"]}
    )
    assert [each["branch"] for each in (*first["items"], *rest["items"])] == ["b2", "b1", "b0"]
    one = await asked(there, "GET", f"/deliveries/{done[0].delivery}")
    assert (one["state"], one["title"], one["commit"]) == ("pushed", "Change it", done[0].commit)
    assert [each["kind"] for each in one["findings"]] == ["binary"]
    await asked(there, "GET", f"/deliveries/{uuid.uuid4()}", 404)
    await asked(there, "GET", "/deliveries/none", 404)


async def test_a_diff_of_what_is_there_and_of_what_is_not(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    changes = packed(place.base, CHANGES)
    refused = await there.delivered(place.repository, place.base, changes)
    assert refused.state is DeliveryState.REFUSED
    pushed = await there.delivered(place.repository, place.base, changes, findings="allow")
    options = ("--no-color", "--find-renames", "-r", "--patch")
    expected = git(place.remote, "diff-tree", *options, place.base, str(pushed.commit)).encode()
    assert b"Binary files /dev/null and b/a.bin differ" in expected
    for delivery in (refused.delivery, pushed.delivery):
        assert await asked(there, "GET", f"/deliveries/{delivery}/diff") == expected
    digest = await there.put(changes)
    where = {"repository": place.repository, "base": place.base}
    assert await there.read(READ_CHANGES_DIFF, sha256=digest, **where) == expected


async def test_others_work_is_not_shown_as_ours(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    git(place.remote, "update-ref", "refs/heads/task/1", place.base)
    add_commit(place.remote, {"theirs.txt": "x\n"}, branch="task/1")
    changes = packed(place.base, {b"ours.txt": ("100644", b"x\n")})
    done = await there.delivered(place.repository, place.base, changes)
    shown = await asked(there, "GET", f"/deliveries/{done.delivery}/diff")
    assert (b"ours.txt" in shown, b"theirs.txt" in shown) == (True, False)


async def test_a_bundle_that_was_refused_can_be_looked_at(there: GitPerson, tmp_path: Path) -> None:
    place = await Place.make(there.scene)
    shop = Workshop(place.remote, tmp_path / "workshop")
    tip = shop.commit(place.base, {".github/workflows/ci.yml": b"on: push\n"})
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert done.state is DeliveryState.REFUSED
    shown = await asked(there, "GET", f"/deliveries/{done.delivery}/diff")
    assert b"+on: push" in shown
    assert list(there.scene.folder.glob("mirrors/*/*/making/*")) == []


async def test_a_long_diff_is_cut_and_says_so(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    long = b"a line that stands here quite often\n" * 100_000
    digest = await there.put(packed(place.base, {b"long.txt": ("100644", long)}))
    where = {"repository": place.repository, "base": place.base}
    await there.scene.ready(place.repository)
    shown = await there.read(READ_CHANGES_DIFF, sha256=digest, **where)
    lines = shown.decode().splitlines()
    assert lines[-1] == "# The diff goes on: only its first 2048 KiB are shown."
    assert set(lines[6:-1]) == {"+a line that stands here quite often"}
    assert 2 * 1024 * 1024 - 100 < len(shown) < 2 * 1024 * 1024 + 100


async def test_what_was_stored_is_given_again(there: GitPerson) -> None:
    """From an offset on, too; no name leads out of the folder."""
    stored = packed("0" * 40, {b"a.bin": ("100644", random.Random(1).randbytes(700_000))})
    digest = await there.put(stored)
    assert await there.read(READ_CHANGES, sha256=digest) == stored
    assert await there.read(READ_CHANGES, 300_000, sha256=digest) == stored[300_000:]
    for name in ("0" * 64, "..", digest.upper()):
        with pytest.raises(SignalboxError) as refusal:
            await there.read(READ_CHANGES, sha256=name)
        assert refusal.value.status == 404


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"sha256": "0" * 64}, "changes_not_found"),
        ({"sha256": "none"}, "changes_not_found"),
        ({"repository": str(uuid.uuid4())}, "repository_not_found"),
        ({"repository": "x"}, "repository_not_found"),
        ({"base": "1" * 40}, "revision_not_found"),
        ({"base": "--output=x"}, "validation_failed"),
    ],
)
async def test_diffs_of_what_is_not_there(there: GitPerson, names: dict[str, str], code: str) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    given = {
        "sha256": await there.put(packed(place.base, CHANGES)),
        "repository": place.repository,
        "base": place.base,
    }
    with pytest.raises(SignalboxError) as refusal:
        await there.read(READ_CHANGES_DIFF, **(given | names))
    assert refusal.value.code == code


# -- again, by hand ----------------------------------------------------------------------------------------


async def test_what_was_refused_is_delivered_by_a_maintainer(there: GitPerson) -> None:
    scene = there.scene
    developer = await scene.http.join(scene.headers, scene.project, "developer")
    place = await Place.make(scene)
    refused = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    path = f"/deliveries/{refused.delivery}/retry"
    low = await asked(there, "POST", path, 403, json={"findings": "allow"}, headers=developer)
    assert low["code"] == "role_too_low"
    same = await asked(there, "POST", path, 201, headers=developer)
    again = await there.ended(await there.delivery(uuid.UUID(same["delivery"])))
    assert (again.state, again.delivery != refused.delivery) == (DeliveryState.REFUSED, True)
    made = await asked(there, "POST", path, 201, json={"findings": "allow"})
    done = await there.ended(await there.delivery(uuid.UUID(made["delivery"])))
    assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": done.commit})
    over = await asked(there, "POST", f"/deliveries/{done.delivery}/retry", 409)
    assert over["code"] == "already_delivered"


async def test_the_same_key_is_one_retry(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    refused = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    headers = there.scene.headers | {"Idempotency-Key": uuid.uuid4().hex}
    path = f"/deliveries/{refused.delivery}/retry"
    one, other = [await asked(there, "POST", path, 201, headers=headers) for _ in range(2)]
    assert one["delivery"] == other["delivery"]


async def test_a_bundle_is_tried_again_as_one(there: GitPerson, tmp_path: Path) -> None:
    place = await Place.make(there.scene)
    shop = Workshop(place.remote, tmp_path / "workshop")
    tip = shop.commit(place.base, {".github/workflows/ci.yml": b"on: push\n"})
    refused = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    path = f"/deliveries/{refused.delivery}/retry"
    made = await asked(there, "POST", path, 201, json={"workflowFiles": "allow"})
    done = await there.ended(await there.delivery(uuid.UUID(made["delivery"])))
    assert (done.state, done.commit) == (DeliveryState.PUSHED, tip)


async def test_what_goes_on_is_not_tried_again(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    there.scene.remote.behaviours.append(partial(answering, 503, place.remote.name))
    try:
        begun = await there.deliver(
            place.repository, place.base, packed(place.base, CHANGES), findings="allow"
        )
        refused = await asked(there, "POST", f"/deliveries/{begun.delivery}/retry", 409)
        assert refused["code"] == "delivery_under_way"
    finally:
        there.scene.remote.behaviours.clear()
    assert (await there.ended(begun)).state is DeliveryState.PUSHED


# -- trees -------------------------------------------------------------------------------------------------


async def test_a_tree_is_the_same_elsewhere(there: GitPerson, tmp_path: Path) -> None:
    place = await Place.make(
        there.scene, {"README.md": "hello\n", "src/späß.py": "x\n", "src/deep/a": "y" * 999}
    )
    checkout = await there.prepared(place.repository, new_branch="task/1")
    archive = await there.read(GET_TREE, checkout=str(checkout.checkout))
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert {member.uid for member in found} == {0}
        found.extractall(tmp_path, filter="tar")
    here = {"GIT_DIR": str(tmp_path / "git"), "GIT_WORK_TREE": str(tmp_path / "tree")}
    assert git(tmp_path, "status", "--porcelain", env=here) == ""
    assert git(tmp_path, "rev-parse", "HEAD", env=here).strip() == place.base
    assert git(tmp_path, "symbolic-ref", "HEAD", env=here).strip() == "refs/heads/task/1"
    assert (tmp_path / "tree/src/späß.py").read_text() == "x\n"
    again = await there.read(GET_TREE, checkout=str(checkout.checkout))
    assert again == archive


async def test_a_tree_goes_on_where_it_was_cut(there: GitPerson) -> None:
    place = await Place.make(there.scene, {f"f{number}": "x" * 10_000 for number in range(60)})
    checkout = await there.prepared(place.repository)
    archive = await there.read(GET_TREE, checkout=str(checkout.checkout))
    for offset in (1, 512, len(archive) // 2, len(archive) - 1, len(archive)):
        rest = await there.read(GET_TREE, offset, checkout=str(checkout.checkout))
        assert rest == archive[offset:]


async def test_another_projects_tree_is_none(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    checkout = await there.prepared(place.repository)
    headers = await there.scene.http.sign_up()
    stranger = GitPerson(there.scene, there.bus, headers, await there.scene.http.project(headers))
    for person, name in ((stranger, str(checkout.checkout)), (there, str(uuid.uuid4())), (there, "..")):
        with pytest.raises(SignalboxError) as refusal:
            await person.read(GET_TREE, checkout=name)
        assert refusal.value.status == 404
