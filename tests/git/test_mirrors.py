"""Mirrors: one fetch for all who want it, nothing broken by whoever dies, and room within the budget."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_common.testing import eventually
from signalbox_git.command import GitFailed
from signalbox_git.mirrors import locks
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from tests.support.checkouts import git
from tests.support.remotes import TOKEN, HttpRemote, add_commit

PROJECT = uuid.uuid4()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that are killed leave something there; its path is short enough for sockets."""
    assert tmp_path.exists()  # made before, where it belongs
    with tempfile.TemporaryDirectory(prefix="sbx-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpRemote]:
    with HttpRemote.serving(tmp_path / "served") as found:
        yield found


def mirrors_in(folder: Path, budget: int = 1 << 40) -> Mirrors:
    reach = Reach(folder / "repositories", PrivateHosts.parse("127.0.0.0/8"))
    return Mirrors(folder / "mirrors", reach, budget=budget, fetch_within=60)


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return mirrors_in(tmp_path)


def source_of(http: HttpRemote, name: str, repository: uuid.UUID | None = None) -> Source:
    return Source(PROJECT, repository or uuid.uuid4(), http.url(name), Credential(TOKEN))


async def head_of(mirrors: Mirrors, source: Source) -> str:
    return await mirrors.of(source).git.line("rev-parse", "refs/heads/main")


async def test_all_who_want_it_at_once_have_one_fetch(
    http: HttpRemote, mirrors: Mirrors, tmp_path: Path
) -> None:
    """As many instances as there are: they share the disk, and nothing else."""
    http.new("app.git")
    await mirrors.fetch(source_of(http, "app.git"), time.time())
    of_one = len(http.requests)
    source, others = source_of(http, "app.git"), [mirrors, mirrors_in(tmp_path), mirrors_in(tmp_path)]
    since = time.time() - 1
    fetched = await asyncio.gather(*(others[number % 3].fetch(source, since) for number in range(100)))
    assert sum(each.is_new for each in fetched) == 1
    assert len(http.requests) == 2 * of_one
    assert await head_of(mirrors, source) == git(http.folder / "app.git", "rev-parse", "main").strip()


async def test_it_brings_what_is_new_and_takes_what_is_gone(http: HttpRemote, mirrors: Mirrors) -> None:
    remote = http.new("app.git")
    source = source_of(http, "app.git")
    add_commit(remote, {"x": "x"}, branch="topic")
    await mirrors.fetch(source, time.time())
    git(remote, "branch", "-D", "topic")
    git(remote, "update-ref", "refs/heads/topic/deeper", "main")
    new = add_commit(remote, {"y": "y"})
    await mirrors.fetch(source, time.time())
    found = (await mirrors.of(source).git.line("for-each-ref", "--format=%(refname)")).split()
    assert found == ["refs/heads/main", "refs/heads/topic/deeper"]
    assert await head_of(mirrors, source) == new
    git(remote, "update-ref", "refs/heads/main", "main~1")  # somebody has forced it
    await mirrors.fetch(source, time.time())
    assert await head_of(mirrors, source) == git(remote, "rev-parse", "main").strip()


CHILD = textwrap.dedent(
    """
    import asyncio, sys, time, uuid
    from pathlib import Path
    from signalbox_common.addresses import PrivateHosts
    from signalbox_git.mirrors.mirrors import Mirrors, Source
    from signalbox_git.remotes.access import Reach
    from signalbox_git.remotes.credentials import Credential
    folder, project, repository, url, token = sys.argv[1:]
    reach = Reach(Path(folder) / "repositories", PrivateHosts.parse("127.0.0.0/8"))
    mirrors = Mirrors(Path(folder) / "mirrors", reach, budget=1 << 40, fetch_within=60)
    source = Source(uuid.UUID(project), uuid.UUID(repository), url, Credential(token))
    async def main():
        while True:
            await mirrors.fetch(source, time.time())
            print("fetched", flush=True)
    asyncio.run(main())
    """
)


def _child(folder: Path, source: Source) -> subprocess.Popen[bytes]:
    words = (folder, source.project, source.repository, source.url, TOKEN)
    env = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, words)], stdout=subprocess.PIPE, env=env)


async def _kill_in_the_middle(http: HttpRemote, folder: Path, kills: int) -> None:
    """Each time at another moment of the fetch, as far as its requests tell."""
    remote = http.new("app.git")
    source = source_of(http, "app.git")
    mirrors = mirrors_in(folder)
    for number in range(kills):
        for branch in range(5):
            add_commit(remote, {f"{number}": "x" * 1000}, branch=f"topic-{number}-{branch}")
        commit = add_commit(remote, {"file": f"{number}\n"})
        child = _child(folder, source)
        assert child.stdout is not None
        try:
            await eventually(partial(_more, http, len(http.requests) + number % 5), what="it has begun")
            await asyncio.sleep(0.003 * (number % 11))  # where it is killed then
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
        await mirrors.fetch(source, time.time())
        assert await head_of(mirrors, source) == commit
    await mirrors.of(source).check()
    assert not list((folder / "mirrors").rglob("*.lock"))


async def _more(http: HttpRemote, count: int) -> bool:
    return len(http.requests) > count


async def test_who_dies_in_the_middle_breaks_nothing(http: HttpRemote, tmp_path: Path) -> None:
    await _kill_in_the_middle(http, tmp_path, 6)


@pytest.mark.proof
@pytest.mark.timeout(1800)
async def test_who_dies_in_the_middle_breaks_nothing_however_often(http: HttpRemote, tmp_path: Path) -> None:
    begun = time.monotonic()
    await _kill_in_the_middle(http, tmp_path, 200)
    print(f"\nfetches: 200 SIGKILLs in {time.monotonic() - begun:.0f} s, the mirror whole each time")


async def test_leftovers_of_the_dead_are_in_nobodys_way(http: HttpRemote, mirrors: Mirrors) -> None:
    remote = http.new("app.git")
    source = source_of(http, "app.git")
    await mirrors.fetch(source, time.time())
    folder = mirrors.of(source).folder / "git"
    for name in ("packed-refs.lock", "HEAD.lock", "refs/heads/main.lock"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()
    commit = add_commit(remote, {"y": "y"})
    await mirrors.fetch(source, time.time())
    assert await head_of(mirrors, source) == commit


@pytest.mark.parametrize("harm", ["pack", "refs", "HEAD", "config", "truncated"])
async def test_what_is_broken_is_made_anew(http: HttpRemote, mirrors: Mirrors, harm: str) -> None:
    remote = http.new("app.git")
    source = source_of(http, "app.git")
    await mirrors.fetch(source, time.time())
    folder = mirrors.of(source).folder / "git"
    packs = [*folder.glob("objects/pack/*.pack"), *folder.glob("objects/??/*")]
    match harm:
        case "pack":
            for path in packs:
                path.unlink()
        case "truncated":
            for path in packs:
                path.chmod(0o600)
                path.write_bytes(path.read_bytes()[:20])
        case "refs":
            (folder / "packed-refs").write_text(f"{'1' * 40} refs/heads/main\n")
        case _:
            (folder / harm).write_text("nonsense\n")
    commit = add_commit(remote, {"y": "y"})
    await mirrors.broken(source)
    await mirrors.fetch(source, time.time())
    assert await head_of(mirrors, source) == commit
    await mirrors.of(source).check()


async def test_a_remote_in_trouble_costs_the_mirror_nothing(http: HttpRemote, mirrors: Mirrors) -> None:
    http.new("app.git")
    source = source_of(http, "app.git")
    await mirrors.fetch(source, time.time())
    before = await head_of(mirrors, source)
    for behave in (
        lambda handler: not handler.answer(500),
        lambda handler: not handler.answer(200, b"nonsense"),
        lambda handler: not handler.answer(200, b"a page\twith a tab"),
        lambda handler: not handler.answer(200),
        lambda handler: not handler.connection.shutdown(socket.SHUT_RDWR),
    ):
        http.behaviours = [behave]
        with pytest.raises(RemoteRefused):
            await mirrors.fetch(source, time.time())
        assert await head_of(mirrors, source) == before


async def test_mirrors_stay_within_their_budget(http: HttpRemote, tmp_path: Path) -> None:
    """Fifty at once, where there is room for twenty: those that were used last stay."""
    content = {f"{number}": os.urandom(30_000).hex() for number in range(3)}
    http.new("app.git", content)
    one = mirrors_in(tmp_path)
    probe = source_of(http, "app.git")
    size = (await one.fetch(probe, time.time())).size
    assert await one.of(probe).remove()
    mirrors = mirrors_in(tmp_path, budget=size * 20)
    sources = [source_of(http, "app.git") for _ in range(50)]

    async def use(source: Source) -> None:
        async with mirrors.fresh(source, time.time()) as mirror:
            assert await mirror.git.line("rev-parse", "refs/heads/main")
        await mirrors.make_room()

    await asyncio.gather(*map(use, sources))
    there = [source for source in sources if mirrors.of(source).is_there]
    assert 10 <= len(there) <= 20
    async with mirrors.held(there[0]) as held:
        assert held.is_there
        assert not await held.remove(), "somebody uses it"
    async with mirrors.fresh(sources[0], time.time()) as again:
        assert again.is_there


async def test_another_project_has_another_mirror(http: HttpRemote, mirrors: Mirrors) -> None:
    http.new("app.git")
    ours = source_of(http, "app.git")
    await mirrors.fetch(ours, time.time())
    theirs = Source(uuid.uuid4(), ours.repository, ours.url)
    assert not mirrors.of(theirs).is_there
    with pytest.raises(RemoteRefused) as refusal:
        await mirrors.fetch(theirs, time.time())
    assert refusal.value.reason == "unauthorized"
    assert not mirrors.of(theirs).is_there


async def test_who_reads_and_who_makes_it_anew_do_not_wait_for_each_other(
    http: HttpRemote, mirrors: Mirrors
) -> None:
    remote = http.new("app.git")
    source = source_of(http, "app.git")
    await mirrors.fetch(source, time.time())
    commit = git(remote, "rev-parse", "main").strip()
    async with mirrors.held(source) as mirror, asyncio.timeout(20):
        for path in [*mirror.folder.glob("git/objects/pack/*.pack"), *mirror.folder.glob("git/objects/??/*")]:
            path.unlink()
        breaking = asyncio.create_task(mirrors.broken(source))
        with suppress(GitFailed, OSError):  # it is being made anew
            await mirrors.keep(source, commit)
        await breaking
        await mirrors.fetch(source, time.time())
        await mirrors.keep(source, commit)


async def test_what_is_not_there_is_not_fresh(http: HttpRemote, mirrors: Mirrors) -> None:
    http.new("app.git")
    source = source_of(http, "app.git")
    async with mirrors.fresh(source, 0.0) as mirror:
        assert mirror.is_there
    mirror.write_note(**mirror.note() | {"begun": time.time() + 3600})
    assert (await mirrors.fetch(source, time.time())).is_new, "nobody fetches in the future"


async def test_one_repository_has_its_bound(
    http: HttpRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.new("app.git")
    reach = Reach(tmp_path / "root", PrivateHosts.parse("127.0.0.0/8"))
    mirrors = Mirrors(tmp_path / "mirrors", reach, budget=1 << 40, fetch_within=60, largest=1)
    monkeypatch.setattr("signalbox_git.mirrors.mirrors._WATCH", 0.01)
    release = threading.Event()
    http.behaviours = [
        lambda handler: (
            "git-upload-pack" in handler.path
            and handler.command == "POST"
            and http.packs > 0
            and not release.wait(20)
        )
    ]
    source = source_of(http, "app.git")
    try:
        with pytest.raises(RemoteRefused) as refusal:
            await mirrors.fetch(source, time.time())
    finally:
        release.set()
    assert refusal.value.reason == "too_large"
    assert not list(mirrors.of(source).folder.glob("git/objects/pack/tmp_*"))


async def test_the_lock_holds_as_long_as_git_goes_on(
    http: HttpRemote, mirrors: Mirrors, tmp_path: Path
) -> None:
    """Who started it is dead: nobody else may change the same refs, nor tidy up after it, while it does."""
    http.new("app.git")
    source = source_of(http, "app.git")
    waits, release = threading.Event(), threading.Event()

    def wait(handler: Any) -> bool:
        if handler.command == "POST" and not waits.is_set():
            waits.set()
            release.wait(30)
        return False

    async def free() -> bool:
        with suppress(locks.Held):
            async with locks.locked(mirrors.of(source).fetching, alone=True, wait=False):
                return True
        return False

    http.behaviours = [wait]
    child = _child(tmp_path, source)
    assert child.stdout is not None
    try:
        assert await asyncio.to_thread(waits.wait, 30), "git asks"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not await free()
    finally:
        release.set()
        child.stdout.close()
    await eventually(free, what="git has ended")
    await mirrors.fetch(source, time.time())
    assert await head_of(mirrors, source) == git(http.folder / "app.git", "rev-parse", "main").strip()
