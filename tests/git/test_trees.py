"""Trees: as plain git would make them, shared where they are the same, and never changed."""

import asyncio
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential
from signalbox_git.trees import bounds, maker
from signalbox_git.trees.maker import MOMENT, TreeMaker
from signalbox_git.trees.trees import Trees
from tests.support.checkouts import git
from tests.support.remotes import TOKEN, HttpRemote, add_commit

PROJECT = uuid.uuid4()
UID = 64_000 if os.geteuid() == 0 else None
FILES = {
    "README.md": "hello\n",
    "src/a.py": "a = 1\n",
    "src/deep/b.py": "b = 1\n",
    "docs/index.md": "docs\n",
    "crlf.txt": "one\ntwo\n",
    ".gitattributes": "crlf.txt text eol=crlf\n*.evil filter=evil\n",
    "x.evil": "as it is\n",
}


@dataclass
class TreeLab:
    remote: Path
    folder: Path
    mirrors: Mirrors
    source: Source
    trees: Trees

    async def make(self, commit: str, options: CheckoutOptions) -> Path:
        mirror = self.mirrors.of(self.source)
        await self.mirrors.keep(self.source, commit)
        async with self.trees.made(mirror, PROJECT, commit, options) as name:
            return self.folder / "trees" / str(PROJECT) / name

    async def newest(self) -> str:
        await self.mirrors.fetch(self.source, time.time())
        return await self.mirrors.of(self.source).git.line("rev-parse", "refs/heads/main")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[TreeLab]:
    with HttpRemote.serving(tmp_path / "served") as http:
        remote = http.new("app.git", FILES)
        for number in range(5):
            add_commit(remote, {"src/a.py": f"a = {number + 2}\n"}, message=f"Count to {number + 2}")
        reach = Reach(tmp_path / "root", PrivateHosts.parse("127.0.0.0/8"))
        mirrors = Mirrors(tmp_path / "mirrors", reach, budget=1 << 40, fetch_within=60)
        source = Source(PROJECT, uuid.uuid4(), http.url("app.git"), Credential(TOKEN))
        yield TreeLab(remote, tmp_path, mirrors, source, Trees(tmp_path / "trees", TreeMaker(UID)))


def inside(tree: Path, *arguments: str) -> str:
    """git as a sandbox has it, in a copy: both folders as one, with files of another inode."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cp", "-a", f"{tree}/tree", f"{folder}/w"], check=True)
        subprocess.run(["cp", "-a", f"{tree}/git", f"{folder}/w/.git"], check=True)
        words = ["git", "-c", "safe.directory=*", *arguments]
        return subprocess.run(words, cwd=f"{folder}/w", check=True, capture_output=True, text=True).stdout


def plain(lab: TreeLab, commit: str, tmp: Path) -> dict[str, bytes]:
    """As an ordinary clone has it."""
    clone = tmp / f"clone-{uuid.uuid4().hex}"
    git(tmp, "clone", "-q", str(lab.remote), str(clone))
    git(clone, "checkout", "-q", commit)
    return contents(clone)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


async def test_it_is_what_a_clone_is(lab: TreeLab, tmp_path: Path) -> None:
    commit = await lab.newest()
    made = await lab.make(commit, CheckoutOptions("task/one"))
    assert contents(made / "tree") == plain(lab, commit, tmp_path)
    assert inside(made, "status", "--short", "--branch") == "## task/one\n"
    assert inside(made, "rev-parse", "HEAD").strip() == commit
    assert inside(made, "log", "--format=%H").split() == git(lab.remote, "log", "--format=%H", "main").split()
    assert inside(made, "remote") == ""
    assert inside(made, "branch", "--list", "--all").split() == ["*", "task/one"]
    assert "hooks" not in {path.name for path in (made / "git").iterdir()}
    if UID is not None:
        assert {path.lstat().st_uid for path in (made, *made.rglob("*"))} == {UID}


async def test_history_is_as_deep_as_asked(lab: TreeLab) -> None:
    made = await lab.make(await lab.newest(), CheckoutOptions("main", depth=2))
    assert inside(made, "log", "--format=%s").splitlines() == ["Count to 6", "Count to 5"]
    inside(made, "fsck")


async def test_a_part_of_it(lab: TreeLab) -> None:
    made = await lab.make(await lab.newest(), CheckoutOptions("main", sparse=("src/deep",)))
    found = set(contents(made / "tree"))
    assert found == {"README.md", "crlf.txt", ".gitattributes", "x.evil", "src/a.py", "src/deep/b.py"}
    assert inside(made, "status", "--short") == ""
    assert inside(made, "sparse-checkout", "list").split() == ["src/deep"]


async def test_the_next_one_shares_what_is_the_same(lab: TreeLab, tmp_path: Path) -> None:
    first = await lab.make(await lab.newest(), CheckoutOptions("main"))
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    git(
        lab.remote,
        "update-ref",
        "refs/heads/main",
        add_commit(lab.remote, {"src/a.py": "a = 100\n", "new": "n\n"}),
    )
    blob = git(lab.remote, "rev-parse", "main:README.md").strip()
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git(lab.remote, "read-tree", "main", env=index)
    lines = f"0 {'0' * 40}\tdocs/index.md\n100755 {blob}\trun.sh\n120000 {blob}\tlink\n"
    git(lab.remote, "update-index", "--index-info", given=lines.encode(), env=index)
    tree = git(lab.remote, "write-tree", env=index).strip()
    commit = git(lab.remote, "commit-tree", tree, "-p", "main", "-m", "Move").strip()
    git(lab.remote, "update-ref", "refs/heads/main", commit)
    second = await lab.make(await lab.newest(), CheckoutOptions("main"))
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert (second / "tree/src/deep/b.py").stat().st_ino == (first / "tree/src/deep/b.py").stat().st_ino
    assert (second / "tree/src/a.py").read_text() == "a = 100\n"
    assert not (second / "tree/docs").exists()
    assert (second / "tree/run.sh").stat().st_mode & 0o777 == 0o755
    assert (second / "tree/link").is_symlink()
    assert inside(second, "status", "--short") == ""
    assert (
        inside(second, "log", "--format=%H").split() == git(lab.remote, "log", "--format=%H", "main").split()
    )
    inside(second, "fsck", "--full")
    for made in (first, second):
        found = [path.lstat() for path in (made, *made.rglob("*"))]
        assert {int(each.st_mtime) for each in found} == {MOMENT}
        assert UID is None or {each.st_uid for each in found} == {UID}


async def test_one_that_is_much_older_is_made_of_a_newer_one(lab: TreeLab, tmp_path: Path) -> None:
    """Whatever lies between them."""
    await lab.make(await lab.newest(), CheckoutOptions("main"))
    old = git(lab.remote, "rev-parse", "main~3").strip()
    made = await lab.make(old, CheckoutOptions("main"))
    assert contents(made / "tree") == plain(lab, old, tmp_path)
    assert inside(made, "status", "--short") == ""
    assert inside(made, "log", "-1", "--format=%H").strip() == old


async def test_many_in_a_row_stay_whole(
    lab: TreeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "MOST_PACKS", 3)
    for number in range(12):
        add_commit(lab.remote, {f"file-{number}": f"{number}\n"})
        made = await lab.make(await lab.newest(), CheckoutOptions("main"))
    assert len(list((made / "git/objects/pack").glob("*.pack"))) <= 4
    assert contents(made / "tree") == plain(lab, "main", tmp_path)
    inside(made, "fsck", "--full")


async def test_asked_for_by_many_at_once_it_is_made_once(
    lab: TreeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, count = await lab.newest(), 0
    make = TreeMaker.make

    async def counted(*arguments: Any) -> None:
        nonlocal count
        count += 1
        await make(*arguments)

    monkeypatch.setattr(TreeMaker, "make", counted)
    made = await asyncio.gather(*(lab.make(commit, CheckoutOptions("main")) for _ in range(50)))
    assert (len(set(made)), count) == (1, 1)


async def test_while_somebody_has_it_it_stays(lab: TreeLab) -> None:
    async def free() -> bool:
        return True

    commit = await lab.newest()
    mirror = lab.mirrors.of(lab.source)
    await lab.mirrors.keep(lab.source, commit)
    async with lab.trees.made(mirror, PROJECT, commit, CheckoutOptions("main")) as name:
        assert not await lab.trees.remove(PROJECT, name, free)
    assert await lab.trees.remove(PROJECT, name, free)
    assert not (lab.folder / "trees" / str(PROJECT) / name).exists()
    again = await lab.make(commit, CheckoutOptions("main"))
    assert inside(again, "status", "--short") == ""


async def test_what_is_too_large_is_not_laid_out(lab: TreeLab) -> None:
    """A pack of a few kilobytes may hold more than the disk."""
    small = Trees(lab.folder / "small", TreeMaker(UID, 100_000))
    add_commit(lab.remote, {"zeros": "0" * 200_000})
    commit = await lab.newest()
    await lab.mirrors.keep(lab.source, commit)
    with pytest.raises(bounds.TreeTooLarge):
        async with small.made(lab.mirrors.of(lab.source), PROJECT, commit, CheckoutOptions("main")):
            pass
    left = [path.name for path in (lab.folder / "small").rglob("*") if path.is_file()]
    assert all(name.endswith(".making") for name in left)


async def test_what_was_cut_off_is_no_tree(lab: TreeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = await lab.newest()

    async def dies(*_arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(TreeMaker, "_check_out", dies)
    with pytest.raises(OSError, match="full"):
        await lab.make(commit, CheckoutOptions("main"))
    assert [path.name for path in (lab.folder / "trees" / str(PROJECT)).glob("[!.]*")] == ["checkouts"]
    monkeypatch.undo()
    made = await lab.make(commit, CheckoutOptions("main"))
    assert inside(made, "status", "--short") == ""


async def test_a_folder_that_becomes_a_link_leads_nowhere(lab: TreeLab, tmp_path: Path) -> None:
    """What is handed over to sandboxes lies in the tree, and nowhere else."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.key").write_text("secret")
    (outside / "secret.key").chmod(0o600)
    before = (outside / "secret.key").stat(), outside.stat()
    add_commit(lab.remote, {"a/secret.key": "x\n", "a/b/c": "x\n"})
    await lab.make(await lab.newest(), CheckoutOptions("main"))
    blob = git(lab.remote, "hash-object", "-w", "--stdin", given=str(outside).encode()).strip()
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git(lab.remote, "read-tree", "main", env=index)
    nothing = "0" * 40
    lines = f"0 {nothing}\ta/secret.key\n0 {nothing}\ta/b/c\n120000 {blob}\ta\n"
    git(lab.remote, "update-index", "--index-info", given=lines.encode(), env=index)
    tree = git(lab.remote, "write-tree", env=index).strip()
    commit = git(lab.remote, "commit-tree", tree, "-p", "main", "-m", "Link").strip()
    git(lab.remote, "update-ref", "refs/heads/main", commit)
    made = await lab.make(await lab.newest(), CheckoutOptions("main"))
    assert (made / "tree" / "a").is_symlink()
    after = (outside / "secret.key").stat(), outside.stat()
    assert [(each.st_uid, each.st_mtime) for each in after] == [
        (each.st_uid, each.st_mtime) for each in before
    ]


async def test_history_is_whole_after_a_merge(lab: TreeLab, tmp_path: Path) -> None:
    """Of a branch that had left before the history of the other tree begins."""
    fork = git(lab.remote, "rev-parse", "main~5").strip()
    await lab.make(await lab.newest(), CheckoutOptions("main", depth=2))
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git(lab.remote, "read-tree", fork, env=index)
    blob = git(lab.remote, "hash-object", "-w", "--stdin", given=b"side\n").strip()
    git(lab.remote, "update-index", "--add", "--cacheinfo", f"100644,{blob},side", env=index)
    side = git(
        lab.remote, "commit-tree", git(lab.remote, "write-tree", env=index).strip(), "-p", fork, "-m", "Side"
    )
    merged = git(
        lab.remote, "commit-tree", "main^{tree}", "-p", "main", "-p", side.strip(), "-m", "Merge"
    ).strip()
    git(lab.remote, "update-ref", "refs/heads/main", merged)
    made = await lab.make(await lab.newest(), CheckoutOptions("main", depth=2))
    assert "Merge" in inside(made, "log", "--format=%s")
    inside(made, "fsck", "--full")


async def test_what_was_left_in_the_making_goes(lab: TreeLab) -> None:
    """Folders and links, to what is there and to what is not; what is young may still be made."""
    made = await lab.make(await lab.newest(), CheckoutOptions("main"))
    folder = made.parent

    def leave(ago: float) -> None:
        (folder / f".draft-folder-{ago}").mkdir()
        (folder / f".draft-link-{ago}").symlink_to(made.name)
        (folder / f".draft-dangling-{ago}").symlink_to("nowhere")
        for path in folder.glob(f".draft-*-{ago}"):
            os.utime(path, (time.time() - ago,) * 2, follow_symlinks=False)

    leave(60)
    leave(7200)
    lab.trees.remove_leftovers()
    left = {path.name for path in folder.glob(".draft-*")}
    assert left == {".draft-folder-60", ".draft-link-60", ".draft-dangling-60"}
    assert (made / "tree" / "README.md").exists()
