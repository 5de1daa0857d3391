"""What is done to mirrors while nobody asks for anything, and what bounds those who do."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.git import CheckoutState
from signalbox_common.db import Transaction
from signalbox_common.runtime import Service
from signalbox_common.space import DiskSpace
from signalbox_common.testing import eventually
from signalbox_git.mirrors import mirrors as mirrors_module
from signalbox_git.mirrors.mirror import Mirror, kept_ref, module_id
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.work.housekeeper import Housekeeper
from tests.support.checkouts import git
from tests.support.git_person import GitPerson
from tests.support.installation import Installation
from tests.support.remotes import TOKEN, HttpRemote, add_commit
from tests.support.repositories import GitScene, git_scene


@dataclass
class Upkeep:
    person: GitPerson
    service: Service

    @property
    def scene(self) -> GitScene:
        return self.person.scene

    def mirrors(self, **more: Any) -> Mirrors:
        """As another instance has them."""
        reach = Reach(self.scene.folder / "repositories", PrivateHosts.parse("127.0.0.0/8"))
        return Mirrors(self.scene.folder / "mirrors", reach, budget=1 << 40, fetch_within=60, **more)

    async def tidy(self, transaction: Transaction) -> None:
        await self.service.tidy(transaction)

    def keeper(self, mirrors: Mirrors | None = None, *, idle: float = 0.0) -> Housekeeper:
        root = self.scene.folder / "mirrors"
        return Housekeeper(self.service.database, mirrors or self.mirrors(), root, idle=idle)

    async def mirror(self, fetches: int = 10) -> tuple[Path, Mirror]:
        """Of a remote that was fetched so often: as many packs."""
        name = f"{uuid.uuid4().hex[:8]}.git"
        remote = self.scene.remote.new(name)
        repository = (await self.scene.add(name))["id"]
        await self.scene.ready(repository)
        (folder,) = self.scene.folder.glob(f"mirrors/*/{repository}-*")
        for number in range(fetches):
            add_commit(remote, {f"{each}": os.urandom(500).hex() for each in range(number, number + 110)})
            await self.scene.ask("POST", f"/{repository}/fetch")
        return remote, Mirror(folder)

    def source(self, remote: Path, mirror: Mirror) -> Source:
        url = self.scene.remote.url(remote.name)
        return Source(mirror.project, mirror.repository, url, Credential(TOKEN))


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Upkeep]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service() as service,
        shared_installation.bus() as bus,
    ):
        yield Upkeep(GitPerson(scene, bus), service)


async def test_a_mirror_that_nobody_uses_is_packed(there: Upkeep) -> None:
    remote, mirror = await there.mirror()
    gone = git(mirror.git.folder, "rev-parse", "refs/heads/main~3").strip()
    git(mirror.git.folder, "update-ref", kept_ref(gone), gone)
    checkout = await there.person.prepared(str(mirror.repository))
    before = mirror.clutter()
    waits = there.keeper(idle=3600.0)
    await waits.turn()
    assert mirror.clutter() == before, "it was used a moment ago"
    keeper = there.keeper()
    assert await keeper.turn() >= 1
    packs, _ = mirror.clutter()
    assert packs <= 2 < before[0]
    assert mirror.cleaned_at > 0
    refs = git(mirror.git.folder, "for-each-ref", "--format=%(refname)", "refs/signalbox").split()
    assert refs == [kept_ref(str(checkout.commit))]
    assert git(mirror.git.folder, "rev-parse", "main") == git(remote, "rev-parse", "main")
    await mirror.check()
    done = mirror.cleaned_at
    await keeper.turn()
    assert mirror.cleaned_at == done, "there is nothing to do"
    add_commit(remote, {"more": "more\n"})
    await there.scene.ask("POST", f"/{mirror.repository}/fetch")
    assert mirror.cleaned_at == done, "a fetch forgets nothing"


async def test_two_instances_and_whoever_holds_it(there: Upkeep) -> None:
    _, mirror = await there.mirror()
    one, other = (there.keeper() for _ in range(2))
    mirrors = there.mirrors()
    async with mirrors.alone_in(mirror):
        await asyncio.gather(one.turn(), other.turn())
        assert mirror.cleaned_at == 0.0, "somebody else changes it"
    await asyncio.gather(one.turn(), other.turn())
    assert mirror.cleaned_at > 0
    await mirror.check()


async def test_it_makes_way(there: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while it is packed does not wait for the end of that."""
    _, mirror = await there.mirror()
    mirrors = there.mirrors()
    begun = asyncio.Event()
    ended: list[bool] = []

    async def packs_for_ever(*_arguments: Any, **_more: Any) -> None:
        async with mirrors.alone_in(mirror, wait=False):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    monkeypatch.setattr("signalbox_git.mirrors.cleaning.cleaned", packs_for_ever)
    os.utime(mirror.in_use, (1, 1))
    monkeypatch.setattr("signalbox_git.work.housekeeper.mirrors_below", lambda _root: [mirror])
    turn = asyncio.create_task(there.keeper(mirrors).turn())
    await begun.wait()
    async with asyncio.timeout(20):
        await there.scene.ask("POST", f"/{mirror.repository}/fetch")
        assert await turn == 0
    assert ended == [True]


CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from signalbox_common.addresses import PrivateHosts
    from signalbox_git.mirrors import cleaning
    from signalbox_git.mirrors.mirror import Mirror
    from signalbox_git.mirrors.mirrors import Mirrors
    from signalbox_git.remotes.access import Reach
    folder, mirror = map(Path, sys.argv[1:])
    mirrors = Mirrors(folder, Reach(folder, PrivateHosts()), budget=1 << 40, fetch_within=60)
    async def nothing():
        return set()
    async def main():
        while True:
            print("begins", flush=True)
            await cleaning.cleaned(mirrors, Mirror(mirror), nothing)
    asyncio.run(main())
    """
)


async def test_who_dies_while_packing_breaks_nothing(there: Upkeep) -> None:
    """At another moment each time. git goes on alone, with the lock; whoever fetches waits for it."""
    remote, mirror = await there.mirror(4)
    for number in range(8):
        commit = add_commit(remote, {f"round-{number}": os.urandom(2000).hex()})
        await there.scene.ask("POST", f"/{mirror.repository}/fetch")
        words = [sys.executable, "-c", CHILD, str(there.scene.folder / "mirrors"), str(mirror.folder)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None
        try:
            assert await asyncio.to_thread(child.stdout.readline) == b"begins\n"
            await asyncio.sleep(0.02 * number)  # where it is killed then
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
        await there.mirrors().fetch(there.source(remote, mirror), time.time())
        assert git(mirror.git.folder, "rev-parse", "refs/heads/main").strip() == commit
        await mirror.check()


# -- bounds --------------------------------------------------------------------------------------------------


async def test_a_disk_that_is_full_is_not_filled(there: Upkeep, tmp_path: Path) -> None:
    there.scene.remote.new("full.git")
    repository = (await there.scene.add("full.git"))["id"]
    await there.scene.ready(repository)
    url = there.scene.remote.url("full.git")
    mirrors = there.mirrors(space=DiskSpace(tmp_path, 1.1))
    source = Source(uuid.UUID(there.scene.project), uuid.UUID(repository), url, Credential(TOKEN))
    before = len(there.scene.remote.requests)
    with pytest.raises(RemoteRefused) as refusal:
        await mirrors.fetch(source, time.time())
    assert (refusal.value.reason, refusal.value.passes) == ("disk_full", True)
    assert len(there.scene.remote.requests) == before
    assert mirrors.of(source).is_there, "what is here can be read"


async def test_one_project_with_remotes_that_hang_is_alone_with_that(tmp_path: Path) -> None:
    with HttpRemote.serving(tmp_path / "served") as http:
        most = mirrors_module.MOST_OF_PROJECT
        http.new("good.git")
        release = threading.Event()
        http.behaviours = [lambda handler: "hangs" in handler.path and not release.wait(60)]
        reach = Reach(tmp_path / "root", PrivateHosts.parse("127.0.0.0/8"))
        mirrors = Mirrors(tmp_path / "mirrors", reach, budget=1 << 40, fetch_within=60)
        project = uuid.uuid4()
        hanging = [
            asyncio.create_task(
                mirrors.fetch(Source(project, uuid.uuid4(), http.url(f"hangs-{number}.git")), time.time())
            )
            for number in range(most * 2)
        ]

        async def full() -> bool:
            return len(http.requests) >= most

        try:
            await eventually(full, what="they hang")
            other = Source(uuid.uuid4(), uuid.uuid4(), http.url("good.git"), Credential(TOKEN))
            async with asyncio.timeout(20):
                await mirrors.fetch(other, time.time())
            assert len([request for request in http.requests if "hangs" in request]) == most
        finally:
            release.set()
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)


# -- what goes -----------------------------------------------------------------------------------------------


async def test_a_checkout_that_was_let_go_says_so(there: Upkeep) -> None:
    there.scene.remote.new("let-go.git")
    repository = (await there.scene.add("let-go.git"))["id"]
    made = await there.person.prepared(repository)
    tree = there.person.tree(made)
    async with there.scene.service(checkout_kept=0.0, checkout_sweep=0.2):

        async def gone() -> bool:
            return (
                await there.person.checkout(made.checkout)
            ).state is CheckoutState.FAILED and not tree.exists()

        await eventually(gone, what="it is let go")
    found = await there.person.checkout(made.checkout)
    assert found.error is not None
    assert (found.error.code, found.error.retryable) == ("checkout_released", True)
    assert (found.commit, found.version) == (made.commit, made.version + 1)
    told = [
        each for each in await there.scene.facts("checkout.changed") if each["checkout"] == str(made.checkout)
    ]
    assert [each["state"] for each in told] == ["preparing", "ready", "failed"]
    assert (await there.person.prepared(repository)).commit == made.commit


async def test_what_a_deleted_project_had_goes_after_a_while(there: Upkeep) -> None:
    """Not at once: until then it can be restored."""
    scene = there.scene
    project = await scene.http.project(scene.headers)
    repository = (await scene.add("gone.git", projectId=project))["id"]
    await scene.ready(repository)
    (mirror,) = scene.folder.glob(f"mirrors/{project}/{repository}-*")
    module = mirror.with_name(f"{module_id(uuid.UUID(project), 'x')}-{mirror.name[-12:]}")
    subprocess.run(["cp", "-a", str(mirror), str(module)], check=True)
    (module.parent / f".{module.name}.use").touch()
    async with scene.installation.sql() as sql:
        stored = "select credential from git.repositories where id = $1"
        secret = await sql.fetchval(stored, repository)

        async def kept() -> tuple[bool, bool, bool]:
            async with there.service.database.transaction() as transaction:
                await there.tidy(transaction)
            return mirror.exists(), module.exists(), await sql.fetchval(stored, repository) == secret

        assert await kept() == (True, True, True)
        insert = "insert into git.deleted_projects values ($1, now() - interval '29 days')"
        await sql.execute(insert, project)
        assert await kept() == (True, True, True)
        await sql.execute(
            "update git.deleted_projects set deleted_at = now() - interval '31 days' where project_id = $1",
            project,
        )
        assert await kept() == (False, False, False)
        assert await sql.fetchval("select deleted_at from git.repositories where id = $1", repository)
