"""Partial mirrors: what is large stays at the remote until somebody needs it, and is fetched once then."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_git.mirrors import cleaning, partial
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from tests.support.checkouts import git
from tests.support.large_history import LARGE, MIB, LargeHistory
from tests.support.operations import StuckRemote
from tests.support.remotes import SSHD, TOKEN, HttpRemote, SshRemote

PROJECT = uuid.uuid4()
BOUND = MIB + MIB // 4


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRemote]:
    with HttpRemote.serving(tmp_path_factory.mktemp("partial") / "served") as found:
        yield found


@pytest.fixture(scope="module")
def history(http: HttpRemote) -> LargeHistory:
    return LargeHistory.make(http, "large.git", size=MIB // 2)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its path is short enough for sockets."""
    assert tmp_path.exists()
    with tempfile.TemporaryDirectory(prefix="sbx-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def mirrors_in(folder: Path, **more: Any) -> Mirrors:
    reach = Reach(folder / "repositories", PrivateHosts.parse("127.0.0.0/8"))
    given = {"budget": 1 << 40, "fetch_within": 60, "partial_above": BOUND} | more
    return Mirrors(folder / "mirrors", reach, **given)


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return mirrors_in(tmp_path)


def source_of(http: HttpRemote, history: LargeHistory) -> Source:
    return Source(PROJECT, uuid.uuid4(), http.url(history.folder.name), Credential(TOKEN))


async def missing(mirror: Mirror, *commits: str, depth: int = 1) -> int:
    return len(await partial.missing(mirror.git, partial.files_of(*commits, depth=depth)))


async def test_the_first_fetch_ends_where_it_is_too_large_for_that(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    source = source_of(http, history)
    fetched = await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    assert fetched.size == mirror.size() < BOUND
    assert mirror.note()["partial"] is True
    assert await mirror.refs() == {"refs/heads/main": history.commit("main")}
    await mirror.check()
    said = {path: path.read_bytes() for path in mirror.folder.glob("git/*") if path.is_file()}
    assert not any(b"http" in content for content in said.values()), "no address is written down"
    before = http.packs
    assert await mirror.remove()
    await mirrors.fetch(source, time.time())
    assert (mirror.is_partial, http.packs) == (True, before + 2), "all but the files, and one of those"
    assert mirror.size() < BOUND


async def test_files_are_brought_as_deep_as_they_are_needed(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    mirror, before = mirrors.of(source), http.packs
    await mirrors.complete(source, partial.files_of(tip, depth=1))
    assert (http.packs, await missing(mirror, tip)) == (before + 1, 0)
    assert mirror.size() < BOUND
    assert await missing(mirror, tip, depth=3) == 4, "two commits, of which each has changed two files"
    await mirrors.complete(source, partial.files_of(tip, depth=3))
    assert await missing(mirror, tip, depth=3) == 0
    assert mirror.size() == mirror.note()["size"] > MIB
    await mirrors.complete(source, partial.files_of(tip, depth=2))
    assert http.packs == before + 2, "it was there"
    everything = git(history.folder, "rev-list", "--objects", "main").count("\n")
    await mirrors.complete(source, partial.files_of(tip, depth=100_000))
    assert (await mirror.git.line("rev-list", "--objects", "main")).count("\n") + 1 == everything


async def test_all_who_need_the_same_have_it_fetched_once(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors, tmp_path: Path
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    instances, before = [mirrors, mirrors_in(tmp_path), mirrors_in(tmp_path)], http.packs
    needed = partial.files_of(tip, depth=2)
    await asyncio.gather(*(instances[number % 3].complete(source, needed) for number in range(30)))
    assert http.packs == before + 1
    assert await missing(mirrors.of(source), tip, depth=2) == 0


async def test_what_is_new_is_fetched_without_its_files(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    own = history.copy("growing.git")
    source = source_of(http, own)
    await mirrors.fetch(source, time.time())
    commit = own.add({"more.bin": history.large[0] + history.large[1], ".gitmodules": b"[a]\n"})
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    assert (await mirror.refs())["refs/heads/main"] == commit
    assert mirror.size() < BOUND
    assert await missing(mirror, commit) > 2
    async with mirrors.at(source) as there:
        topic = own.add({"topic.bin": history.large[2]}, branch="topic", onto="main^0")
        await there.fetch_commit(mirror.upkeep, "topic")
    assert await mirror.has(topic)
    assert mirror.size() < BOUND
    await mirror.check()


async def test_what_is_there_in_full_stays_so(
    http: HttpRemote, history: LargeHistory, tmp_path: Path
) -> None:
    own = history.copy("full.git")
    source = source_of(http, own)
    await mirrors_in(tmp_path, partial_above=None).fetch(source, time.time())
    own.add({"more.txt": b"more\n"})
    mirrors = mirrors_in(tmp_path)
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    assert not mirror.is_partial
    assert await missing(mirror, own.commit("main"), depth=100) == 0


async def test_a_remote_that_leaves_nothing_out_is_fetched_in_full(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    own = history.copy("unfiltered.git")
    git(own.folder, "config", "uploadpack.allowFilter", "false")
    source, before = source_of(http, own), http.packs
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    assert (http.packs, mirror.is_partial) == (before + 2, True)
    assert mirror.size() > 10 * MIB
    assert await missing(mirror, own.commit("main"), depth=100) == 0
    own.add({"more.txt": b"more\n"})
    await mirrors.fetch(source, time.time())
    assert (http.packs, await missing(mirror, own.commit("main"))) == (before + 3, 0)


async def test_a_remote_that_gives_no_file_away_is_fetched_in_full(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    """As older ones do, which know only the first protocol."""

    def forget(handler: Any) -> bool:
        del handler.headers["Git-Protocol"]
        return False

    own = history.copy("first-protocol.git")
    source = source_of(http, own)
    http.behaviours = [forget]
    try:
        await mirrors.fetch(source, time.time())
    finally:
        http.behaviours = []
    mirror = mirrors.of(source)
    assert not mirror.is_partial
    assert await missing(mirror, own.commit("main"), depth=100) == 0


@pytest.mark.proof
@pytest.mark.skipif(SSHD is None, reason="there is no sshd")
async def test_over_ssh(history: LargeHistory, mirrors: Mirrors) -> None:
    """Which speaks the first protocol here: that gives a file away where its owner lets it."""
    own = history.copy("over-ssh.git")
    git(own.folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    async with SshRemote.serving(own.folder.parent) as remote:
        credential = Credential(private_key=remote.private_key)
        source = Source(PROJECT, uuid.uuid4(), remote.url("over-ssh.git"), credential)
        await mirrors.fetch(source, time.time())
        mirror, tip = mirrors.of(source), own.commit("main")
        assert (mirror.is_partial, mirror.size() < BOUND) == (True, True)
        await mirrors.complete(source, partial.files_of(tip, depth=2))
        assert await missing(mirror, tip, depth=2) == 0


async def test_it_has_its_bound_as_well(
    http: HttpRemote, history: LargeHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox_git.mirrors.mirrors._WATCH", 0.01)
    mirrors = mirrors_in(tmp_path, largest=3 * MIB)
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    with pytest.raises(RemoteRefused) as refusal:
        await mirrors.complete(source, partial.files_of(tip, depth=100))
    assert refusal.value.reason == "too_large"
    assert mirror.size() < BOUND
    assert not list(mirror.folder.glob("git/objects/pack/tmp_*"))
    with pytest.raises(RemoteRefused) as refusal:
        await mirrors.complete(source, partial.files_of(tip, depth=100), most=3)
    assert refusal.value.reason == "too_large"
    await mirrors.complete(source, partial.files_of(tip))
    assert await missing(mirror, tip) == 0


async def test_a_remote_in_trouble_costs_a_partial_mirror_nothing(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    await mirrors.complete(source, partial.files_of(tip))
    is_there = mirror.folder.stat().st_ino
    for behave in (
        lambda handler: not handler.answer(500),
        lambda handler: not handler.answer(200, b"nonsense"),
        lambda handler: not handler.answer(200),
    ):
        http.behaviours = [behave]
        try:
            with pytest.raises(RemoteRefused):
                await mirrors.complete(source, partial.files_of(tip, depth=2))
            await mirrors.complete(source, partial.files_of(tip))
        finally:
            http.behaviours = []
    lost = history.copy("lost.git")
    source = replace(source, repository=uuid.uuid4(), url=http.url("lost.git"))
    await mirrors.fetch(source, time.time())
    git(lost.folder, "update-ref", "refs/heads/main", lost.add({"x": b"x"}, branch="other", onto="main^0"))
    for pack in lost.folder.glob("objects/pack/*.pack"):
        pack.rename(lost.folder / "gone")
    with pytest.raises(RemoteRefused):
        await mirrors.complete(source, partial.files_of(tip, depth=2))
    await mirrors.of(source).check()
    assert mirror.folder.stat().st_ino == is_there
    await mirror.check()


CHILD = textwrap.dedent(
    """
    import asyncio, sys, uuid
    from pathlib import Path
    from signalbox_common.addresses import PrivateHosts
    from signalbox_git.mirrors.mirrors import Mirrors, Source
    from signalbox_git.mirrors.partial import files_of
    from signalbox_git.remotes.access import Reach
    from signalbox_git.remotes.credentials import Credential
    folder, project, repository, url, token, commit = sys.argv[1:]
    reach = Reach(Path(folder) / "repositories", PrivateHosts.parse("127.0.0.0/8"))
    mirrors = Mirrors(Path(folder) / "mirrors", reach, budget=1 << 40, fetch_within=60)
    source = Source(uuid.UUID(project), uuid.UUID(repository), url, Credential(token))
    asyncio.run(mirrors.complete(source, files_of(commit, depth=2)))
    """
)


@pytest.mark.parametrize("afterwards", [pytest.param(False, marks=pytest.mark.proof), True])
async def test_who_dies_while_files_come_breaks_nothing(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors, tmp_path: Path, *, afterwards: bool
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    killed = threading.Event()

    def kill(handler: Any) -> bool:
        if handler.command == "POST" and not killed.is_set():
            os.kill(child.pid, signal.SIGKILL)
            killed.set()
        return False

    hooks = http.afterwards if afterwards else http.behaviours
    hooks.append(kill)
    words = map(str, (tmp_path, PROJECT, source.repository, source.url, TOKEN, tip))
    env = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    child = subprocess.Popen([sys.executable, "-c", CHILD, *words], env=env)
    try:
        assert await asyncio.to_thread(child.wait, 30) == -signal.SIGKILL
    finally:
        hooks.remove(kill)
    await mirrors.complete(source, partial.files_of(tip, depth=2))
    assert killed.is_set()
    mirror = mirrors.of(source)
    assert (mirror.is_partial, await missing(mirror, tip, depth=2)) == (True, 0)
    await mirror.check()


async def test_it_is_packed_and_stays_partial(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    for depth in (1, 2, 3):
        await mirrors.complete(source, partial.files_of(tip, depth=depth))

    async def needed() -> set[str]:
        return set()

    before = await missing(mirror, tip, depth=100)
    assert await cleaning.cleaned(mirrors, mirror, needed) is not None
    assert len(list(mirror.folder.glob("git/objects/pack/*.promisor"))) == 1
    assert (mirror.is_partial, mirror.clutter()) == (True, (1, 0))
    assert await missing(mirror, tip, depth=3) == 0
    assert await missing(mirror, tip, depth=100) == before > 10
    await mirror.check()
    await mirrors.broken(source)
    assert mirror.is_there


@pytest.mark.parametrize("harm", [pytest.param("pack", marks=pytest.mark.proof), "note"])
async def test_what_is_broken_in_it_is_made_anew(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors, harm: str
) -> None:
    source, tip = source_of(http, history), history.commit("main")
    await mirrors.fetch(source, time.time())
    mirror = mirrors.of(source)
    match harm:
        case "note":  # as who is killed between the fetch and its note leaves it
            mirror.write_note(partial=True)
        case _:
            for path in mirror.folder.glob("git/objects/pack/*.pack"):
                path.unlink()
    await mirrors.broken(source)
    await mirrors.fetch(source, time.time())
    assert mirror.is_partial
    assert mirror.size() < BOUND
    await mirrors.complete(source, partial.files_of(tip))
    await mirror.check()
    assert (await mirror.git.run("cat-file", "blob", f"{tip}:{LARGE}")) == b"small\n"


@pytest.mark.proof
async def test_one_project_takes_no_more_than_its_share(
    http: HttpRemote, history: LargeHistory, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox_git.mirrors.mirrors.MOST_OF_PROJECT", 1)
    history.copy("hangs.git")
    first, second = replace(source_of(http, history), url=http.url("hangs.git")), source_of(http, history)
    other = replace(second, project=uuid.uuid4())
    for source in (first, second, other):
        await mirrors.fetch(source, time.time())
    needed = partial.files_of(history.commit("main"))
    with StuckRemote(http, "POST", "hangs.git/git-upload-pack", does_it=False) as stuck:
        hanging = asyncio.create_task(mirrors.complete(first, needed))
        assert await asyncio.to_thread(stuck.waiting.wait, 30)
        waiting = asyncio.create_task(mirrors.complete(second, needed))
        await mirrors.complete(other, needed)
        assert not waiting.done()
    await asyncio.gather(hanging, waiting)
    assert await missing(mirrors.of(second), history.commit("main")) == 0


@pytest.mark.proof
async def test_how_much_smaller_it_is(http: HttpRemote, tmp_path: Path) -> None:
    large = LargeHistory.make(http, "measured.git", commits=100, size=2 * MIB)
    tip = large.commit("main")
    for above in (None, 5 * MIB):
        mirrors = mirrors_in(tmp_path, partial_above=above)
        source, begun = source_of(http, large), time.monotonic()
        await mirrors.fetch(source, time.time())
        figures = [("fetched", mirrors.of(source).size(), time.monotonic() - begun)]
        for depth in (1, 10):
            begun = time.monotonic()
            await mirrors.complete(source, partial.files_of(tip, depth=depth))
            figures.append((f"depth {depth}", mirrors.of(source).size(), time.monotonic() - begun))
        said = ", ".join(f"{what}: {size / MIB:.1f} MiB, {took:.2f} s" for what, size, took in figures)
        print(f"\n{'in full' if above is None else 'partial'}: {said}")
        assert mirrors.of(source).is_partial == (above is not None)
