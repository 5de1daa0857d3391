"""Deliveries: from a change set to one commit on one branch, counted at the remote."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from signalbox_common.contracts.git import DeliveryState
from signalbox_common.errors import SignalboxError
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.remotes import TOKEN, add_commit, answering
from tests.support.repositories import git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n"), b"src/new.py": ("100755", b"print(1)\n")}


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


async def test_one_commit_on_one_branch(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert (done.state, done.branch, done.error) == (DeliveryState.PUSHED, "task/1", None)
    assert place.branches() == {"task/1": done.commit}
    assert (
        place.show("task/1", "%an <%ae>|%cn|%P")
        == f"Alice Example <alice@example.com>|Signalbox|{place.base}"
    )
    assert place.show("task/1", "%B") == "Change it\n\nCo-authored-by: Coder <coder@signalbox.invalid>"
    files = git(place.remote, "ls-tree", "-r", "task/1").splitlines()
    assert [(line.split()[0], line.split("\t")[1]) for line in files] == [
        ("100644", "README.md"),
        ("100755", "src/new.py"),
    ]
    told = [
        each for each in await there.scene.facts("delivery.changed") if each["delivery"] == str(done.delivery)
    ]
    assert [(each["state"], each["final"]) for each in told] == [
        ("pending", False),
        ("committed", False),
        ("pushed", True),
    ]
    assert git(place.remote, "rev-parse", "main").strip() == place.base


async def test_the_same_again_is_the_same_commit(there: GitPerson) -> None:
    """A retry says what was pushed last, and may take its place; whoever says nothing may not."""
    place = await Place.make(there.scene)
    first = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    other = packed(place.base, {b"README.md": ("100644", b"otherwise\n")})
    second = await there.delivered(place.repository, place.base, other, expected=first.commit)
    assert (second.state, second.branch) == (DeliveryState.PUSHED, "task/1")
    assert place.branches() == {"task/1": second.commit}
    third = await there.delivered(place.repository, place.base, packed(place.base, {b"x": ("100644", b"x")}))
    assert third.state is DeliveryState.PUSHED
    assert place.branches()["task/1"] in (second.commit, third.commit)
    assert git(place.remote, "merge-base", "--is-ancestor", str(second.commit), "task/1") == ""


async def test_the_same_commit_on_another_branch_is_not_on_this_one(there: GitPerson) -> None:
    """The same change of the same second is the same commit: each goes where it was asked for."""
    place = await Place.make(there.scene)
    add_commit(place.remote, {"other.txt": "o\n"}, branch="task/2")
    changes = await there.put(packed(place.base, CHANGES))
    one, other = await asyncio.gather(
        *(
            there.delivered(place.repository, place.base, changes, branch=branch)
            for branch in ("task/1", "task/2")
        )
    )
    for done in (one, other):
        assert done.state is DeliveryState.PUSHED
        assert git(place.remote, "show", f"{done.branch}:src/new.py") == "print(1)\n"
    assert git(place.remote, "show", "task/2:other.txt") == "o\n"


async def test_nothing_to_commit(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    same = packed(place.base, {b"README.md": ("100644", b"hello\n")})
    done = await there.delivered(place.repository, place.base, same)
    assert (done.state, done.error, done.commit) == (DeliveryState.UNCHANGED, None, None)
    assert place.branches() == {}


async def test_a_branch_that_others_moved_is_gone_on_from(there: GitPerson) -> None:
    place = await Place.make(there.scene, {"README.md": "hello\n", "other.txt": "x\n"})
    theirs = add_commit(place.remote, {"other.txt": "theirs\n"}, branch="main", message="Theirs")
    git(place.remote, "update-ref", "refs/heads/task/1", theirs)
    git(place.remote, "update-ref", "refs/heads/main", place.base)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")
    assert place.show("task/1", "%P|%an") == f"{theirs}|Alice Example"
    assert git(place.remote, "show", "task/1:other.txt") == "theirs\n"
    assert git(place.remote, "show", "task/1:README.md") == "changed\n"


async def test_where_both_have_changed_the_same_it_goes_beside(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    theirs = add_commit(place.remote, {"README.md": "theirs\n"}, message="Theirs")
    git(place.remote, "update-ref", "refs/heads/task/1", theirs)
    git(place.remote, "update-ref", "refs/heads/main", place.base)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1-2")
    assert place.branches() == {"task/1": theirs, "task/1-2": done.commit}
    assert place.show("task/1-2", "%P") == place.base


SECRET = b"token = 'ghp_" + b"a1B2" * 9 + b"'\n"


@pytest.mark.parametrize(
    ("asked", "code", "kinds"),
    [
        ({b"a.py": ("100644", b"x = 1\n" + SECRET)}, "findings", {"secret"}),
        ({b"key.pem": ("100644", b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n")}, "findings", {"secret"}),
        ({b"c.txt": ("100644", b"my " + TOKEN.encode() + b"\n")}, "findings", {"secret"}),
        ({b"a.bin": ("100644", b"\0\1\2")}, "findings", {"binary"}),
        ({b"big.txt": ("100644", b"a\n" * 6_000_000)}, "findings", {"large"}),
        ({f"f{number}".encode(): None for number in range(11)}, "findings", {"deletions"}),
        ({b".github/workflows/ci.yml": ("100644", b"on: push\n")}, "workflow_files", {"workflow"}),
        ({b".GitHub/Workflows/ci.yml": ("100644", b"on: push\n")}, "workflow_files", {"workflow"}),
    ],
)
async def test_what_somebody_should_look_at_first(
    there: GitPerson, asked: Asked, code: str, kinds: set[str]
) -> None:
    place = await Place.make(there.scene, {f"f{number}": f"{number}\n" for number in range(20)})
    changes = packed(place.base, asked)
    done = await there.delivered(place.repository, place.base, changes)
    assert (done.state, done.error.code if done.error else None) == (DeliveryState.REFUSED, code)
    assert {each.kind for each in done.findings} == kinds
    assert TOKEN not in done.model_dump_json()
    assert place.branches() == {}
    allowed = {"findings": "allow", "workflow_files": "allow"}
    again = await there.delivered(place.repository, place.base, changes, **allowed)
    assert again.state is DeliveryState.PUSHED
    assert {each.kind for each in again.findings} == kinds


async def test_only_maintainers_let_findings_out(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    developer = await there.scene.http.join(there.scene.headers, there.scene.project, "developer")
    person = GitPerson(there.scene, there.bus, developer)
    with pytest.raises(SignalboxError) as refusal:
        await person.deliver(place.repository, place.base, packed(place.base, CHANGES), findings="allow")
    assert refusal.value.code == "role_too_low"


async def test_protected_branches_are_nobodys(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES), branch="main")
    assert (done.state, done.error.code if done.error else None) == (
        DeliveryState.REFUSED,
        "protected_branch",
    )
    await there.scene.ask("PATCH", f"/{place.repository}", json={"protected": ["release/*"]})
    for branch, state in (("release/1", DeliveryState.REFUSED), ("releases", DeliveryState.PUSHED)):
        done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES), branch=branch)
        assert done.state is state


async def test_a_remote_in_trouble_is_tried_again(there: GitPerson) -> None:
    """The work is not done again for it: neither is the commit."""
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    name, remote = place.remote.name, there.scene.remote
    remote.behaviours.append(partial(answering, 503, name))
    try:
        begun = await there.deliver(place.repository, place.base, packed(place.base, CHANGES))

        async def committed() -> str | None:
            return (await there.delivery(begun.delivery)).commit

        commit = await eventually(committed, what="it is committed")
        assert place.branches() == {}
    finally:
        remote.behaviours.clear()
    done = await there.ended(begun)
    assert (done.state, done.commit) == (DeliveryState.PUSHED, commit)


async def test_what_a_remote_refuses_for_good(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    hook = place.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Monday' >&2\nexit 1\n")
    hook.chmod(0o755)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert (done.state, done.error.code if done.error else None) == (DeliveryState.FAILED, "push_refused")
    assert done.error is not None
    assert done.error.retryable
    hook.unlink()
    again = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert again.state is DeliveryState.PUSHED


async def test_many_at_once_and_none_is_lost(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    digest = await there.put(packed(place.base, CHANGES))
    done = await asyncio.gather(
        *(
            there.delivered(place.repository, place.base, digest, branch=f"task/{number}")
            for number in range(12)
        )
    )
    assert {each.state for each in done} == {DeliveryState.PUSHED}
    assert place.branches() == {f"task/{number}": done[number].commit for number in range(12)}


async def test_many_onto_one_branch_lose_nothing(there: GitPerson) -> None:
    """Each of another file: all of them are there in the end, on that branch or beside it."""
    place = await Place.make(there.scene)

    async def one(number: int) -> Any:
        asked: Asked = {f"file-{number}".encode(): ("100644", b"x\n")}
        return await there.delivered(place.repository, place.base, packed(place.base, asked), branch="shared")

    done = await asyncio.gather(*map(one, range(4)))
    assert [each.error for each in done] == [None] * 4
    found = set()
    for branch in place.branches():
        found |= set(git(place.remote, "ls-tree", "-r", "--name-only", branch).split())
    assert {f"file-{number}" for number in range(4)} <= found


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (b"no tar", "bad_changes"),
        (packed(None, {b".git/config": ("100644", b"[core]")}), "bad_changes"),
        (packed(None, {b"../up": ("100644", b"x")}), "bad_changes"),
    ],
)
async def test_what_is_no_change_set_is_not_kept(there: GitPerson, changes: bytes, code: str) -> None:
    with pytest.raises(SignalboxError) as refusal:
        await there.put(changes)
    assert (refusal.value.status, refusal.value.code) == (422, code)
    digest = hashlib.sha256(changes).hexdigest()
    kept = (there.scene.folder / "changes").rglob("*")
    assert not [path for path in kept if path.name == digest or path.name.startswith(".")]


async def test_change_sets_are_known_by_their_bytes(there: GitPerson) -> None:
    changes = packed(None, CHANGES)
    assert await there.put(changes) == await there.put(changes)
    with pytest.raises(SignalboxError) as refusal:
        await there.put(changes + b"\0" * 512, sha256="0" * 64)
    assert refusal.value.code == "digest_mismatch"
    place = await Place.make(there.scene)
    with pytest.raises(SignalboxError) as refusal:
        await there.deliver(place.repository, place.base, "1" * 64)
    assert refusal.value.code == "changes_not_found"


async def test_another_project_has_none_of_it(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    digest = await there.put(packed(place.base, CHANGES))
    done = await there.delivered(place.repository, place.base, digest)
    headers = await there.scene.http.sign_up()
    stranger = GitPerson(there.scene, there.bus, headers, await there.scene.http.project(headers))
    with pytest.raises(SignalboxError) as refusal:
        await stranger.deliver(place.repository, place.base, digest)
    assert refusal.value.code == "repository_not_found"
    with pytest.raises(SignalboxError) as refusal:
        await stranger.delivery(done.delivery)
    assert refusal.value.code == "delivery_not_found"


async def test_a_commit_that_is_gone_says_so(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    done = await there.delivered(place.repository, "1" * 40, packed(None, CHANGES))
    assert (done.state, done.error.code if done.error else None) == (DeliveryState.FAILED, "base_not_found")


async def test_the_main_branch_is_protected_from_the_first_moment(there: GitPerson) -> None:
    """Nothing is known of the remote yet when it is asked for."""
    place = await Place.make(there.scene)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES), branch="main")
    assert (done.state, done.error.code if done.error else None) == (
        DeliveryState.REFUSED,
        "protected_branch",
    )
    assert git(place.remote, "rev-parse", "main").strip() == place.base


async def test_what_others_have_written_is_not_named_as_ours(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    theirs = add_commit(place.remote, {"theirs.txt": "two days of work\n"}, branch="feature")
    changes = packed(place.base, CHANGES)
    done = await there.delivered(place.repository, place.base, changes, branch="feature", expected=theirs)
    assert done.state is DeliveryState.PUSHED
    tips = place.branches()
    assert any(git(place.remote, "ls-tree", "--name-only", tip, "theirs.txt") for tip in tips.values())
    assert (
        tips["feature"] == theirs
        or git(place.remote, "merge-base", theirs, tips["feature"]).strip() == theirs
    )


async def test_a_mirror_that_is_gone_is_fetched_again(there: GitPerson) -> None:
    """Also where the commit was in it: that is the same when it is made again."""
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    there.scene.remote.behaviours.append(partial(answering, 503, place.remote.name))
    try:
        begun = await there.deliver(place.repository, place.base, packed(place.base, CHANGES))

        async def committed() -> str | None:
            return (await there.delivery(begun.delivery)).commit

        commit = await eventually(committed, what="it is committed")
        for mirror in there.scene.mirrors:
            if mirror.name.startswith(place.repository):
                shutil.rmtree(mirror)
    finally:
        there.scene.remote.behaviours.clear()
    done = await there.ended(begun)
    assert (done.state, done.commit) == (DeliveryState.PUSHED, commit)
    assert place.branches() == {"task/1": commit}


async def test_a_change_set_of_another_project_is_none(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    digest = await there.put(packed(place.base, CHANGES))
    headers = await there.scene.http.sign_up()
    project = await there.scene.http.project(headers)
    own = await there.scene.ask(
        "POST",
        status=201,
        headers=headers,
        json={"projectId": project, "url": there.scene.remote.url("own.git")},
    )
    stranger = GitPerson(there.scene, there.bus, headers, project)
    with pytest.raises(SignalboxError) as refusal:
        await stranger.deliver(own["id"], place.base, digest)
    assert refusal.value.code == "changes_not_found"


async def test_the_same_from_somebody_else_is_not_pushed_on_top(there: GitPerson) -> None:
    """What is in the branch already leaves nothing to be put there: no empty commit."""
    place = await Place.make(there.scene)
    theirs = add_commit(place.remote, {"README.md": "changed\n", "more.txt": "x\n"})
    same: Asked = {b"more.txt": ("100644", b"x\n"), b"README.md": ("100644", b"changed\n")}
    git(place.remote, "update-ref", "refs/heads/task/1", theirs)
    git(place.remote, "update-ref", "refs/heads/main", place.base)
    done = await there.delivered(place.repository, place.base, packed(place.base, same))
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")
    assert place.branches() == {"task/1": theirs}


async def test_a_mirror_that_is_broken_is_made_anew(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    await there.prepared(place.repository)
    for mirror in there.scene.mirrors:
        if mirror.name.startswith(place.repository):
            for path in (*mirror.glob("git/objects/pack/*"), *mirror.glob("git/objects/??/*")):
                path.unlink()
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert done.state is DeliveryState.PUSHED
