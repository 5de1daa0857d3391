"""Looking into repositories, held against plain git."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.repositories import GitScene, git_scene


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found, found.service():
        yield found


@pytest.fixture(scope="module")
async def there(scene: GitScene) -> tuple[Path, str]:
    """A repository with some history, and its id."""
    remote = scene.remote.new("history.git", {"a.txt": "one\ntwo\n", "src/deep/b.py": "b\n"})
    add_commit(remote, {"a.txt": "one\n2\n", "späß.txt": "ö\n"}, message="Second\n\nWith a body.")
    add_commit(remote, {"c.bin": "\0\1"}, branch="feature/x", message="Aside")
    git(remote, "update-ref", "refs/heads/feature/x", add_commit(remote, {"d": "d\n"}, message="Third"))
    git(remote, "tag", "-a", "v1", "main~1", "-m", "first")
    git(remote, "tag", "light", "main")
    added = await scene.add("history.git")
    await scene.ready(added["id"])
    return remote, added["id"]


async def test_branches_and_tags(scene: GitScene, there: tuple[Path, str]) -> None:
    remote, repository = there
    branches = await scene.ask("GET", f"/{repository}/branches")
    found = {each["name"]: (each["commit"], each["isDefault"]) for each in branches["items"]}
    main = git(remote, "rev-parse", "main").strip()
    assert found == {"main": (main, True), "feature/x": (main, False)}
    tags = (await scene.ask("GET", f"/{repository}/tags"))["items"]
    assert [each["name"] for each in tags] == ["light", "v1"]
    assert tags[1]["commit"] == git(remote, "rev-parse", "v1^{commit}").strip()
    first = await scene.ask("GET", f"/{repository}/branches", params={"limit": 1})
    rest = await scene.ask("GET", f"/{repository}/branches", params={"cursor": first["nextCursor"]})
    assert [each["name"] for each in (*first["items"], *rest["items"])] == ["feature/x", "main"]
    assert rest["nextCursor"] is None


async def test_commits_that_say_odd_things(scene: GitScene) -> None:
    """Made by hand: git itself would not write such names."""
    remote = scene.remote.new("odd-words.git")
    parent, tree = git(remote, "rev-parse", "main", "main^{tree}").split()
    person = "\x01\x02evil <e@example.com> 1700000000 +0000"
    subject = "s" * 5_000
    raw = f"tree {tree}\nparent {parent}\nauthor {person}\ncommitter {person}\n\n{subject}\n\n\x01\n\x01b\n"
    odd = git(remote, "hash-object", "-t", "commit", "-w", "--stdin", given=raw.encode()).strip()
    git(remote, "update-ref", "refs/heads/main", odd)
    repository = (await scene.add("odd-words.git"))["id"]
    await scene.ready(repository)
    listed = (await scene.ask("GET", f"/{repository}/commits"))["items"]
    assert [each["id"] for each in listed] == [odd, parent]
    assert (listed[0]["author"]["name"], listed[0]["body"]) == ("\x01\x02evil", "\x01\n\x01b")
    assert listed[0]["subject"] == "s" * 1_000
    shown = await scene.ask("GET", f"/{repository}/commit")
    assert shown["commit"]["id"] == odd


async def test_commits(scene: GitScene, there: tuple[Path, str]) -> None:
    remote, repository = there
    expected = git(remote, "log", "--format=%H", "main").split()
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await scene.ask("GET", f"/{repository}/commits", params=params)
        found += [each["id"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == expected
    changed = await scene.ask("GET", f"/{repository}/commits", params={"path": "a.txt", "ref": "v1"})
    subjects = [(each["subject"], each["body"]) for each in changed["items"]]
    assert subjects == [("Second", "With a body."), ("a commit", "")]
    shown = await scene.ask("GET", f"/{repository}/commit?ref=main~1")
    files = {each["path"]: (each["status"], each["added"], each["removed"]) for each in shown["files"]}
    assert files == {"a.txt": ("M", 1, 1), "späß.txt": ("A", 1, 0)}
    first = await scene.ask("GET", f"/{repository}/commit?ref=main~2")
    assert {each["path"] for each in first["files"]} == {"a.txt", "src/deep/b.py"}


async def test_trees_files_and_lines(scene: GitScene, there: tuple[Path, str]) -> None:
    _, repository = there
    tree = await scene.ask("GET", f"/{repository}/tree")
    assert {(each["path"], each["type"]) for each in tree["items"]} == {
        ("a.txt", "file"),
        ("d", "file"),
        ("src", "folder"),
        ("späß.txt", "file"),
    }
    deep = await scene.ask("GET", f"/{repository}/tree", params={"path": "src/deep", "ref": "v1"})
    assert [(each["path"], each["size"]) for each in deep["items"]] == [("src/deep/b.py", 2)]
    content = await scene.ask("GET", f"/{repository}/file", params={"path": "späß.txt"})
    assert content == "ö\n".encode()
    old = await scene.ask("GET", f"/{repository}/file", params={"path": "a.txt", "ref": "main~2"})
    assert old == b"one\ntwo\n"
    blame = await scene.ask("GET", f"/{repository}/blame", params={"path": "a.txt"})
    assert [(each["first"], each["subject"]) for each in blame["items"]] == [(1, "a commit"), (2, "Second")]


async def test_differences(scene: GitScene, there: tuple[Path, str]) -> None:
    remote, repository = there
    own = (await scene.ask("GET", f"/{repository}/diff", params={"head": "main~1"})).decode()
    assert "-two\n+2\n" in own
    assert "späß.txt" in git(remote, "-c", "core.quotePath=false", "show", "--format=", "main~1")
    compared = await scene.ask("GET", f"/{repository}/diff", params={"base": "v1", "head": "main"})
    assert compared.decode() == git(remote, "diff-tree", "-p", "-r", "v1", "main")
    one = await scene.ask("GET", f"/{repository}/diff", params={"head": "main~1", "path": "a.txt"})
    assert b"a.txt" in one
    assert b"sp" not in one
    first = await scene.ask("GET", f"/{repository}/diff", params={"head": "main~2"})
    assert b"new file mode" in first


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/tree?ref=nowhere", "revision_not_found"),
        ("/tree?ref=main~50", "revision_not_found"),
        ("/tree?ref=0123456789abcdef0123456789abcdef01234567", "revision_not_found"),
        ("/tree?path=nowhere", "path_not_found"),
        ("/tree?path=a.txt", "path_not_found"),
        ("/file?path=src", "path_not_found"),
        ("/file?path=a%0Ab", "path_not_found"),
        ("/blame?path=src", "path_not_found"),
        ("/commits?ref=nowhere", "revision_not_found"),
        ("/diff?base=nowhere", "revision_not_found"),
    ],
)
async def test_what_is_not_there(scene: GitScene, there: tuple[Path, str], path: str, code: str) -> None:
    refused = await scene.ask("GET", f"/{there[1]}{path}", status=404)
    assert refused["code"] == code


@pytest.mark.parametrize(
    "path",
    [
        "/tree?ref=--help",
        "/tree?ref=main:a.txt",
        "/tree?ref=@%7B1%7D",
        "/tree?ref=main..v1",
        "/tree?ref=%5Emain",
        "/tree?ref=main%20x",
        "/tree?ref=:/Second",
        "/tree?path=../x",
        "/tree?path=/etc",
        "/file?path=a//b",
        "/file?path=a%00b",
        "/diff?base=--output=/tmp/x",
        "/commit?ref=-p",
    ],
)
async def test_what_is_no_revision_and_no_path(scene: GitScene, there: tuple[Path, str], path: str) -> None:
    refused = await scene.ask("GET", f"/{there[1]}{path}", status=422)
    assert refused["code"] == "validation_failed"


async def test_what_is_old_is_fetched_by_and_by(scene: GitScene) -> None:
    async with scene.service(mirror_freshness=0.0):
        added = await scene.add("moving.git")
        await scene.ready(added["id"])
        commit = add_commit(scene.remote.folder / "moving.git", {"new.txt": "new\n"})

        async def seen() -> bool:
            page = await scene.ask("GET", f"/{added['id']}/commits", params={"limit": 1})
            return bool(page["items"][0]["id"] == commit)

        await eventually(seen, what="the new commit is shown")


async def test_a_broken_mirror_is_made_anew(scene: GitScene) -> None:
    added = await scene.add("broken.git")
    await scene.ready(added["id"])
    (mirror,) = [path for path in scene.mirrors if path.name.startswith(added["id"])]
    shutil.rmtree(mirror / "git" / "objects" / "pack")
    (mirror / "git" / "objects" / "pack").mkdir()

    async def whole() -> bool:
        path = f"/api/v1/repositories/{added['id']}/file"
        answer = await scene.http.get(path, params={"path": "README.md"}, headers=scene.headers)
        return answer.content == b"hello\n"

    await eventually(whole, what="it is whole again")


async def test_many_look_at_once(scene: GitScene, there: tuple[Path, str]) -> None:
    async def look(path: str) -> object:
        return await scene.ask("GET", f"/{there[1]}{path}")

    paths = ("/branches", "/commits", "/tree", "/file?path=a.txt", "/diff") * 10
    assert len(await asyncio.gather(*map(look, paths))) == 50


async def test_a_name_that_others_begin_with_is_none(scene: GitScene, there: tuple[Path, str]) -> None:
    refused = await scene.ask("GET", f"/{there[1]}/commits?ref=feature", status=404)
    assert refused["code"] == "revision_not_found"


async def test_a_subject_may_have_any_characters(scene: GitScene) -> None:
    remote = scene.remote.new("odd.git")
    subject = "one\u2028two\x0cthree\x85four"
    add_commit(remote, {"a": "1\n"}, message=subject)
    git(remote, "tag", "-a", "v1", "main", "-m", subject)
    added = await scene.add("odd.git")
    await scene.ready(added["id"])
    branches = await scene.ask("GET", f"/{added['id']}/branches")
    assert branches["items"][0]["subject"] == subject
    assert len((await scene.ask("GET", f"/{added['id']}/tags"))["items"]) == 1
    blame = await scene.ask("GET", f"/{added['id']}/blame", params={"path": "a"})
    assert [each["subject"] for each in blame["items"]] == [subject]
