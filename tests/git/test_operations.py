"""Operations: each type, and what it has done, counted at the remote."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.checkouts import git
from tests.support.git_person import Place
from tests.support.installation import Installation
from tests.support.operations import OperationPerson, refs_of
from tests.support.remotes import add_commit, answering
from tests.support.repositories import git_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationPerson]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
    ):
        yield OperationPerson(scene)


def topic_of(place: Place, files: dict[str, str], name: str = "topic", message: str = "Topic") -> str:
    """A branch that begins where main is now, with one commit."""
    git(place.remote, "update-ref", f"refs/heads/{name}", "refs/heads/main")
    return add_commit(place.remote, files, branch=name, message=message)


async def test_a_branch_at_a_revision(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    add_commit(place.remote, {"README.md": "again\n"})
    done = await there.done(place, type="branch", name="task/neu-ä", revision="main~1")
    assert (done["commitSha"], done["previous"], done["changed"]) == (place.base, None, True)
    assert refs_of(place)["refs/heads/task/neu-ä"] == place.base
    listed = await there.scene.ask("GET", f"/{place.repository}/branches")
    assert "task/neu-ä" in [each["name"] for each in listed["items"]]
    assert done.keys() >= {
        "id",
        "sandboxId",
        "operationType",
        "status",
        "commitSha",
        "errorMessage",
        "createdAt",
    }
    assert (done["sandboxId"], done["operationType"]) == (None, "branch")
    assert done["durationMs"] >= 0
    told = await there.told(done)
    assert [each["status"] for each in told] == ["pending", "running", "running", "succeeded"]
    assert [each["version"] for each in told] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["main", "task", "task/1/more"])
async def test_a_name_that_is_taken(there: OperationPerson, name: str) -> None:
    """Also where git could not have both, since one would be a folder and a file."""
    place = await Place.make(there.scene)
    git(place.remote, "update-ref", "refs/heads/task/1", "refs/heads/main")
    before = refs_of(place)
    done = await there.failed(place, "ref_exists", type="branch", name=name, protected="allow")
    assert done["error"]["retryable"] is False
    assert refs_of(place) == before


async def test_a_name_at_the_remote_that_is_no_text(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    git(place.remote, "update-ref", "refs/heads/x/\udcff", "refs/heads/main")
    done = await there.failed(place, "ref_exists", type="branch", name="x")
    assert done["errorMessage"] == "There is x/\ufffd already."
    assert [each["status"] for each in await there.told(done)][-1] == "failed"


NOT_NAMES = (
    "-rf",
    "--upload-pack=x",
    "refs/heads/x",
    "HEAD",
    "@",
    "a..b",
    "a b",
    "a:b",
    "a\nb",
    "x.lock",
    "f" * 40,
)


@pytest.mark.parametrize("name", NOT_NAMES)
async def test_what_is_no_name(there: OperationPerson, name: str) -> None:
    place = await Place.make(there.scene)
    for of_type in ("branch", "tag"):
        answer = await there.begin(place, http_status=422, type=of_type, name=name)
        assert answer["code"] == "validation_failed"
    for of_type in ("delete-branch", "delete-tag"):
        path = f"/{place.repository}/operations"
        asked = {"type": of_type, "name": name, "protected": "allow"}
        answer = await there.scene.http.post(f"/api/v1/repositories{path}", headers=there.headers, json=asked)
        if answer.status_code == 201:  # such a name could be there
            assert (await there.ended(answer.json()))["error"]["code"] == "ref_not_found"
        else:
            assert answer.status_code == 422
    assert refs_of(place) == {"refs/heads/main": place.base}


async def test_a_branch_is_deleted_as_it_was_seen(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    theirs = topic_of(place, {"a.txt": "a\n"})
    await there.failed(place, "moved", type="delete-branch", name="topic", expected=place.base)
    assert refs_of(place)["refs/heads/topic"] == theirs
    done = await there.done(place, type="delete-branch", name="topic", expected=theirs)
    assert (done["previous"], done["commitSha"]) == (theirs, None)
    assert refs_of(place) == {"refs/heads/main": place.base}
    await there.failed(place, "ref_not_found", type="delete-branch", name="topic")


async def test_two_who_want_the_same_name(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    begun = [await there.begin(place, type="branch", name="x") for _ in range(4)]
    ended = await asyncio.gather(*(there.ended(each) for each in begun))
    assert sorted(each["status"] for each in ended) == ["failed", "failed", "failed", "succeeded"]
    assert {each["error"]["code"] for each in ended if each["error"]} == {"ref_exists"}


async def test_two_who_delete_the_same(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    topic_of(place, {"a.txt": "a\n"})
    begun = [await there.begin(place, type="delete-branch", name="topic") for _ in range(4)]
    ended = await asyncio.gather(*(there.ended(each) for each in begun))
    assert sorted(each["status"] for each in ended) == ["failed", "failed", "failed", "succeeded"]
    assert {each["error"]["code"] for each in ended if each["error"]} == {"ref_not_found"}


async def test_tags(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    light = await there.done(place, type="tag", name="v1")
    author = {"name": "Ada L.", "email": "ada@example.com"}
    full = await there.done(place, type="tag", name="v2", message="Zwei\n\nmore", author=author)
    assert light["commitSha"] == full["commitSha"] == place.base
    assert git(place.remote, "cat-file", "-t", "v1").strip() == "commit"
    assert git(place.remote, "cat-file", "-t", "v2").strip() == "tag"
    said = git(
        place.remote, "for-each-ref", "--format=%(taggername)|%(taggeremail)|%(contents)", "refs/tags/v2"
    )
    assert said.strip() == "Ada L|<ada@example.com>|Zwei\n\nmore"
    git(place.remote, "fsck", "--strict")
    await there.failed(place, "ref_exists", type="tag", name="v2")
    await there.done(place, type="delete-tag", name="v1")
    await there.done(place, type="delete-tag", name="v2")
    assert refs_of(place) == {"refs/heads/main": place.base}


async def test_a_merge_commit(there: OperationPerson) -> None:
    place = await Place.make(there.scene, {"a.txt": "a\n", "b.txt": "b\n"})
    theirs = topic_of(place, {"a.txt": "theirs\n"})
    tip = add_commit(place.remote, {"b.txt": "ours\n"})
    author = {"name": "Ada", "email": "ada@example.com"}
    asked = {"type": "merge", "branch": "main", "source": "topic", "protected": "allow", "author": author}
    done = await there.done(place, **asked)
    assert refs_of(place) == {"refs/heads/main": done["commitSha"], "refs/heads/topic": theirs}
    assert place.show("main", "%P|%an <%ae>|%cn|%s") == (
        f"{tip} {theirs}|Ada <ada@example.com>|Signalbox|Merge topic into main"
    )
    assert git(place.remote, "show", "main:a.txt") == "theirs\n"
    assert git(place.remote, "show", "main:b.txt") == "ours\n"
    again = await there.done(place, **asked)
    assert (again["changed"], again["commitSha"]) == (False, done["commitSha"])


@pytest.mark.parametrize(("mode", "parents"), [("allow", 1), ("only", 1), ("never", 2)])
async def test_fast_forward(there: OperationPerson, mode: str, parents: int) -> None:
    place = await Place.make(there.scene)
    git(place.remote, "update-ref", "refs/heads/next", "refs/heads/main")
    theirs = topic_of(place, {"a.txt": "a\n"})
    done = await there.done(place, type="merge", branch="next", source="topic", fastForward=mode)
    assert refs_of(place)["refs/heads/next"] == done["commitSha"]
    assert len(place.show("next", "%P").split()) == parents
    assert (done["commitSha"] == theirs) is (mode != "never")
    add_commit(place.remote, {"c.txt": "c\n"}, branch="topic")
    add_commit(place.remote, {"d.txt": "d\n"}, branch="next")
    if mode == "only":
        await there.failed(
            place, "not_fast_forward", type="merge", branch="next", source="topic", fastForward=mode
        )


async def test_a_conflict_names_the_files(there: OperationPerson) -> None:
    place = await Place.make(there.scene, {"a.txt": "a\n", "ä ö.txt": "b\n", "c.txt": "c\n"})
    theirs = topic_of(place, {"a.txt": "theirs\n", "ä ö.txt": "theirs\n", "c.txt": "same\n"})
    add_commit(place.remote, {"a.txt": "ours\n", "ä ö.txt": "ours\n", "c.txt": "same\n"})
    before = refs_of(place)
    for action in (
        {"type": "merge", "branch": "main", "source": "topic"},
        {"type": "cherry-pick", "branch": "main", "commit": theirs},
    ):
        done = await there.failed(place, "conflict", **action, protected="allow")
        assert done["error"]["paths"] == ["a.txt", "ä ö.txt"]
        assert done["errorMessage"]
    assert refs_of(place) == before


async def test_nothing_in_common(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    add_commit(place.remote, {"x": "x\n"}, branch="alone")
    asked = {"type": "merge", "branch": "alone", "source": "main"}
    await there.failed(place, "unrelated", **asked)


async def test_a_revert(there: OperationPerson) -> None:
    place = await Place.make(there.scene, {"a.txt": "a\n"})
    bad = add_commit(place.remote, {"a.txt": "bad\n", "new.txt": "new\n"}, message="Bad idea")
    tip = add_commit(place.remote, {"b.txt": "b\n"})
    asked = {"type": "revert", "branch": "main", "commit": bad, "protected": "allow"}
    done = await there.done(place, **asked)
    assert place.show("main", "%H|%P") == f"{done['commitSha']}|{tip}"
    assert place.show("main", "%B") == f'Revert "Bad idea"\n\nThis reverts commit {bad}.'
    assert git(place.remote, "ls-tree", "--name-only", "main").split() == ["a.txt", "b.txt"]
    assert git(place.remote, "show", "main:a.txt") == "a\n"
    assert (await there.done(place, **asked))["changed"] is False
    first = {"type": "revert", "branch": "main", "commit": place.base, "protected": "allow"}
    await there.done(place, **first)
    assert git(place.remote, "ls-tree", "--name-only", "main").split() == ["b.txt"]


async def test_a_revert_of_a_merge_says_which_parent_counts(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    topic_of(place, {"a.txt": "a\n"})
    merge = {"type": "merge", "branch": "main", "source": "topic", "fastForward": "never"}
    merged = await there.done(place, **merge, protected="allow")
    asked = {"type": "revert", "branch": "main", "commit": merged["commitSha"], "protected": "allow"}
    await there.failed(place, "mainline_needed", **asked)
    await there.failed(place, "mainline_unknown", **asked, mainline=3)
    await there.done(place, **asked, mainline=1)
    assert git(place.remote, "ls-tree", "--name-only", "main").split() == ["README.md"]


async def test_a_cherry_pick_keeps_its_author(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    picked = topic_of(place, {"a.txt": "a\n"}, message="Good idea\n\nwhy")
    author = place.show(picked, "%an|%ae|%ad")
    tip = add_commit(place.remote, {"b.txt": "b\n"})
    asked = {"type": "cherry-pick", "branch": "main", "commit": "topic", "protected": "allow"}
    done = await there.done(place, **asked)
    assert place.show("main", "%H|%P|%cn") == f"{done['commitSha']}|{tip}|Signalbox"
    assert place.show("main", "%an|%ae|%ad") == author
    assert place.show("main", "%B") == f"Good idea\n\nwhy\n\n(cherry picked from commit {picked})"
    assert git(place.remote, "ls-tree", "--name-only", "main").split() == ["README.md", "a.txt", "b.txt"]
    assert (await there.done(place, **asked))["changed"] is False


async def test_protected_branches_are_for_maintainers_who_say_so(there: OperationPerson) -> None:
    place = await Place.make(there.scene, protected=["main", "release/*"])
    topic_of(place, {"a.txt": "a\n"})
    before = refs_of(place)
    actions: tuple[dict[str, Any], ...] = (
        {"type": "branch", "name": "release/1"},
        {"type": "delete-branch", "name": "main"},
        {"type": "merge", "branch": "main", "source": "topic"},
        {"type": "revert", "branch": "main", "commit": "main"},
        {"type": "cherry-pick", "branch": "main", "commit": "topic"},
    )
    developer = await there.scene.http.join(there.headers, there.scene.project, "developer")
    for action in actions:
        await there.failed(place, "protected_branch", **action)
        answer = await there.begin(place, http_status=403, headers=developer, **action, protected="allow")
        assert answer["code"] == "role_too_low"
    assert refs_of(place) == before
    await there.done(place, type="tag", name="v1")
    await there.done(place, type="branch", name="release/1", protected="allow")


async def test_two_merges_at_once(there: OperationPerson) -> None:
    """And two at a time of what others push: exactly one commit each, none lost."""
    place = await Place.make(there.scene)
    git(place.remote, "update-ref", "refs/heads/next", "refs/heads/main")
    sources = [f"topic-{number}" for number in range(6)]
    for name in sources:
        topic_of(place, {f"{name}.txt": "x\n"}, name=name)
    asked = [{"type": "merge", "branch": "next", "source": name, "fastForward": "never"} for name in sources]
    done = await asyncio.gather(*(there.done(place, **each) for each in asked))
    made = git(place.remote, "rev-list", "--merges", "next").split()
    assert sorted(made) == sorted(each["commitSha"] for each in done)
    assert len(made) == len(sources)
    names = git(place.remote, "ls-tree", "--name-only", "next").split()
    assert {f"{name}.txt" for name in sources} < set(names)


async def test_a_fetch_is_written_down_too(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    theirs = add_commit(place.remote, {"a.txt": "a\n"})
    found = await there.scene.ask("POST", f"/{place.repository}/fetch")
    assert found["status"] == "ready"
    listed = await there.listed(place)
    assert [(each["operationType"], each["status"]) for each in listed] == [("fetch", "succeeded")]
    shown = await there.scene.ask("GET", f"/{place.repository}/commit", params={"ref": "main"})
    assert shown["commit"]["id"] == theirs


async def test_a_fetch_that_is_refused(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    name = place.remote.name

    def gone(handler: Any) -> bool:
        return answering(404, name, handler)

    there.scene.remote.behaviours.append(gone)
    try:
        answer = await there.scene.ask("POST", f"/{place.repository}/fetch", status=409)
        assert answer["code"] == "fetch_failed"
        done = await there.failed(place, "not_found", type="fetch")
        assert done["error"]["retryable"] is False
    finally:
        there.scene.remote.behaviours.remove(gone)


async def test_other_peoples_operations_are_not_there(there: OperationPerson) -> None:
    place, other = await Place.make(there.scene), await Place.make(there.scene)
    done = await there.done(place, type="tag", name="v1")
    stranger = await there.scene.http.sign_up()
    theirs = f"/{place.repository}/operations"
    for method, path in (
        ("GET", f"{theirs}/{done['id']}"),
        ("POST", f"{theirs}/{done['id']}/cancel"),
        ("GET", theirs),
    ):
        answer = await there.scene.ask(method, path, status=404, headers=stranger)
        assert answer["code"] == "repository_not_found"
    answer = await there.begin(place, http_status=404, headers=stranger, type="fetch")
    assert answer["code"] == "repository_not_found"
    elsewhere = [f"/{other.repository}/operations/{done['id']}", f"{theirs}/{uuid.uuid4()}"]
    answers = [await there.scene.ask("GET", path, status=404) for path in elsewhere]
    answers += [await there.scene.ask("POST", f"{path}/cancel", status=404) for path in elsewhere]
    assert {each["code"] for each in answers} == {"operation_not_found"}
    assert len({each["detail"] for each in answers}) == 1


async def test_a_list_by_type_and_status(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    first = await there.done(place, type="tag", name="v1")
    second = await there.failed(place, "ref_exists", type="tag", name="v1")
    third = await there.done(place, type="branch", name="x")
    assert [each["id"] for each in await there.listed(place)] == [third["id"], second["id"], first["id"]]
    assert [each["id"] for each in await there.listed(place, type="tag")] == [second["id"], first["id"]]
    assert [each["id"] for each in await there.listed(place, status="failed")] == [second["id"]]
    page = await there.scene.ask("GET", f"/{place.repository}/operations", params={"limit": 2})
    rest = await there.listed(place, cursor=page["nextCursor"])
    assert [each["id"] for each in rest] == [first["id"]]


async def test_the_same_key_is_the_same_operation(there: OperationPerson) -> None:
    place = await Place.make(there.scene)
    key = {"Idempotency-Key": uuid.uuid4().hex}
    asked = [there.begin(place, headers={**there.headers, **key}, type="branch", name="x") for _ in range(5)]
    begun = await asyncio.gather(*asked)
    assert len({each["id"] for each in begun}) == 1
    await there.ended(begun[0])
    assert len(await there.listed(place)) == 1
