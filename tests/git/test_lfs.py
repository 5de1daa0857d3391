"""What LFS keeps: laid out in place of its pointers, from where that may be fetched, and unchanged to git."""

import asyncio
import hashlib
import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.git import CheckoutState
from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.trees.bounds import TreeTooLarge
from signalbox_git.trees.maker import MOMENT, TreeMaker
from signalbox_git.trees.trees import Trees
from tests.git.test_trees import inside
from tests.support.checkouts import git
from tests.support.git_person import GitPerson
from tests.support.installation import Installation
from tests.support.lfs import ATTRIBUTES, LfsServer, pointer
from tests.support.remotes import TOKEN, HttpRemote, add_commit, basic
from tests.support.repositories import git_scene

PROJECT = uuid.uuid4()
UID = 64_000 if os.geteuid() == 0 else None
LARGE, OTHER = os.urandom(300_000), b"other\n" * 1000
WANTED = CheckoutOptions("main", lfs=True)


@dataclass
class LfsLab:
    http: HttpRemote
    server: LfsServer
    remote: Path
    folder: Path
    mirrors: Mirrors
    largest: int = 1 << 30

    @property
    def source(self) -> Source:
        return Source(PROJECT, uuid.uuid5(PROJECT, "app"), self.http.url("app.git"), Credential(TOKEN))

    async def make(self, options: CheckoutOptions = WANTED) -> Path:
        trees = Trees(self.folder / "trees", TreeMaker(UID, self.largest))
        async with self.mirrors.fresh(self.source, time.time()) as mirror:
            newest = await mirror.git.line("rev-parse", "refs/heads/main")
            await self.mirrors.keep(self.source, newest)
            fetch = self.mirrors.lfs_of(self.source).fetch if options.lfs else None
            async with trees.made(mirror, PROJECT, newest, options, lfs=fetch) as tree:
                return self.folder / "trees" / str(PROJECT) / tree

    async def refused(self) -> str:
        with pytest.raises(RemoteRefused) as refusal:
            await self.make()
        assert not list((self.folder / "trees").glob("*/*-*/tree"))
        assert not list((self.folder / "trees").glob("*/.draft-*"))
        return refusal.value.reason


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[LfsLab]:
    with ExitStack() as stack:
        http, store = (stack.enter_context(HttpRemote.serving(tmp_path / name)) for name in ("a", "b"))
        server = LfsServer(http, store)
        files = {
            ".gitattributes": ATTRIBUTES,
            "a.txt": "a\n",
            "large.bin": server.keep(LARGE),
            "deep/other.bin": server.keep(OTHER),
            "deep/copy.bin": server.keep(OTHER),
            "no.txt": pointer(b"nobody has said that LFS keeps it"),
            "no.bin": "no pointer\n",
        }
        remote = http.new("app.git", files)
        reach = Reach(tmp_path / "root", PrivateHosts.parse("127.0.0.0/8"))
        mirrors = Mirrors(tmp_path / "mirrors", reach, budget=1 << 40, fetch_within=60)
        yield LfsLab(http, server, remote, tmp_path, mirrors)


async def test_files_are_there_and_nothing_looks_changed(lab: LfsLab) -> None:
    made = await lab.make()
    tree = made / "tree"
    assert (tree / "large.bin").read_bytes() == LARGE
    assert (tree / "deep/other.bin").read_bytes() == (tree / "deep/copy.bin").read_bytes() == OTHER
    assert (tree / "no.txt").read_text() == pointer(b"nobody has said that LFS keeps it")
    assert (tree / "no.bin").read_text() == "no pointer\n"
    assert inside(made, "status", "--short") == ""
    assert inside(made, "diff", "--stat", "HEAD") == ""
    assert not (made / "lfs").exists()
    assert {int(path.lstat().st_mtime) for path in tree.rglob("*")} == {MOMENT}
    if UID is not None:
        assert {path.lstat().st_uid for path in made.rglob("*")} == {UID}
    assert sorted(lab.server.sent) == sorted({hashlib.sha256(each).hexdigest() for each in (LARGE, OTHER)})


async def test_what_is_changed_inside_is_seen(lab: LfsLab, tmp_path: Path) -> None:
    made = await lab.make()
    work = tmp_path / "w"
    for source, target in (("tree", work), ("git", work / ".git")):
        subprocess.run(["cp", "-a", str(made / source), str(target)], check=True)
    safe = ("-c", "safe.directory=*")
    changed = bytearray(LARGE)
    changed[0] ^= 1
    (work / "large.bin").write_bytes(changed)  # of the same size
    assert git(work, *safe, "status", "--short") == " M large.bin\n"
    (work / "a.txt").write_text("b\n")
    git(work, *safe, "commit", "-q", "-m", "only one", "a.txt")
    assert git(work, *safe, "show", "--stat", "--format=", "HEAD").split()[0] == "a.txt"


async def test_without_asking_for_them_there_are_pointers(lab: LfsLab) -> None:
    made = await lab.make(CheckoutOptions("main"))
    assert (made / "tree/large.bin").read_text() == pointer(LARGE)
    assert lab.server.batches == 0


async def test_the_next_tree_shares_them(lab: LfsLab) -> None:
    first = await lab.make()
    new = os.urandom(5000)
    add_commit(lab.remote, {"a.txt": "b\n", "deep/other.bin": lab.server.keep(new)})
    lab.server.sent.clear()
    second = await lab.make()
    assert lab.server.sent == [hashlib.sha256(new).hexdigest()]
    assert (second / "tree/deep/other.bin").read_bytes() == new
    assert (second / "tree/large.bin").stat().st_ino == (first / "tree/large.bin").stat().st_ino
    assert (first / "tree/deep/other.bin").read_bytes() == OTHER
    assert inside(first, "status", "--short") == inside(second, "status", "--short") == ""


async def test_other_attributes_are_other_files(lab: LfsLab) -> None:
    await lab.make()
    add_commit(lab.remote, {".gitattributes": "deep/*.bin filter=lfs\n"})
    made = await lab.make()
    assert (made / "tree/large.bin").read_text() == pointer(LARGE)
    assert (made / "tree/deep/other.bin").read_bytes() == OTHER
    assert inside(made, "status", "--short") == ""


async def test_only_what_is_laid_out(lab: LfsLab) -> None:
    add_commit(lab.remote, {"beside/x": "x\n"})
    made = await lab.make(CheckoutOptions("main", sparse=("beside",), lfs=True))
    assert not (made / "tree/deep").exists()
    assert (made / "tree/large.bin").read_bytes() == LARGE
    assert inside(made, "status", "--short") == ""


async def test_the_credential_is_for_the_host_of_the_repository_alone(lab: LfsLab) -> None:
    await lab.make()
    assert set(lab.server.shown) == {None}
    lab.server.store = lab.http
    lab.server.shown.clear()
    add_commit(lab.remote, {"large.bin": lab.server.keep(b"at its own host")})
    await lab.make()
    assert set(lab.server.shown) == {basic(TOKEN)}


def _href(text: str) -> Any:
    def twist(found: dict[str, Any]) -> None:
        found["actions"]["download"]["href"] = text

    return twist


def _header(name: str, value: str) -> Any:
    def twist(found: dict[str, Any]) -> None:
        found["actions"]["download"]["header"][name] = value

    return twist


@pytest.mark.parametrize(
    ("twist", "reason"),
    [
        (_href("http://10.1.2.3/x"), "private_address"),
        (_href("http://169.254.169.254/latest/meta-data"), "private_address"),
        (_href("http://[::ffff:10.0.0.1]/x"), "private_address"),
        (_href("http://user:pass@127.0.0.1/x"), "bad_url"),
        (_href("file:///etc/passwd"), "bad_url"),
        (_href("ftp://127.0.0.1/x"), "bad_url"),
        (_href("http://127.1/x"), "bad_url"),
        (_href("http://127.0.0.1:1/a\nb"), "bad_url"),
        (_href("http:///x"), "bad_url"),
        (_header("X", "a\r\nHost: b"), "bad_answer"),
        (_header("X Y", "a"), "bad_answer"),
        (lambda found: found.pop("actions"), "no_object"),
        (lambda found: found.update(oid="0" * 64), "no_object"),
        (lambda found: found.update(actions=[]), "bad_answer"),
    ],
)
async def test_hostile_answers(lab: LfsLab, twist: Any, reason: str) -> None:
    lab.server.twists.append(twist)
    assert await lab.refused() == reason


@pytest.mark.parametrize(
    ("status", "reason"), [(302, "redirected"), (403, "unauthorized"), (404, "no_lfs"), (503, "busy")]
)
async def test_what_the_server_says(lab: LfsLab, status: int, reason: str) -> None:
    lab.server.status = status
    assert await lab.refused() == reason


@pytest.mark.parametrize("content", [b"", LARGE[:-1], LARGE + b"x", bytes(len(LARGE))])
async def test_what_comes_is_what_the_commit_names(lab: LfsLab, content: bytes) -> None:
    lab.server.objects[hashlib.sha256(LARGE).hexdigest()] = content
    assert await lab.refused() == "bad_object"


async def test_an_object_that_is_not_there(lab: LfsLab) -> None:
    add_commit(lab.remote, {"gone.bin": pointer(b"gone")})
    assert await lab.refused() == "no_object"


async def test_nothing_is_fetched_of_what_is_too_large(lab: LfsLab) -> None:
    add_commit(lab.remote, {"huge.bin": pointer(b"huge", size=10**15)})
    with pytest.raises(TreeTooLarge):
        await lab.make()
    assert lab.server.batches == 0


async def test_many_at_once_fetch_once(lab: LfsLab) -> None:
    """Each as if it were an instance of its own."""
    made = await asyncio.gather(*(lab.make() for _ in range(8)))
    assert len(set(made)) == 1
    assert len(lab.server.sent) == 2


# -- the whole way -------------------------------------------------------------------------------------------


async def test_a_checkout_that_asks_for_them(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        there = GitPerson(scene, bus)
        server = LfsServer(scene.remote, scene.remote)
        scene.remote.new("lfs.git", {".gitattributes": ATTRIBUTES, "large.bin": server.keep(LARGE)})
        repository = (await scene.add("lfs.git"))["id"]
        found = await there.prepared(repository, lfs=True)
        assert (there.tree(found) / "tree/large.bin").read_bytes() == LARGE
        plain = await there.prepared(repository)
        assert (there.tree(plain) / "tree/large.bin").read_text() == pointer(LARGE)
        newer = add_commit(scene.remote.folder / "lfs.git", {"large.bin": server.keep(OTHER)})
        server.status = 404
        failed = await there.settled(await there.prepare(repository, lfs=True, ref=newer))
        assert failed.state is CheckoutState.FAILED
        assert failed.error is not None
        assert "LFS" in failed.error.detail
