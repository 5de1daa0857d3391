"""Operations while they go on: how far they are, what cancelling does, what a remote in trouble does."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.testing import eventually
from signalbox_git.operations.percentages import Percentages
from signalbox_git.work.operator import MOST_IN_PROJECT
from tests.support.checkouts import git
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.operations import OperationPerson, SlowRemote, StuckRemote, large_commit, refs_of
from tests.support.remotes import add_commit, answering
from tests.support.repositories import git_scene

PHASES = ("enumerating", "counting", "compressing", "receiving", "unpacking", "writing", "resolving")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationPerson]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
    ):
        yield OperationPerson(scene)


async def fetched_place(there: OperationPerson) -> Place:
    place = await Place.make(there.scene)
    await there.scene.ready(place.repository)
    return place


def mirror_of(there: OperationPerson, place: Place) -> Path:
    return next(path for path in there.scene.mirrors if path.name.startswith(place.repository)) / "git"


async def test_percentages_only_grow(there: OperationPerson) -> None:
    place = await fetched_place(there)
    large_commit(place)

    async def half_way() -> Any:
        shown = (await there.look(begun))["progress"]
        return shown if shown is not None and shown["phase"] == "receiving" else None

    with SlowRemote(there.scene.remote) as remote:
        begun = await there.begin(place, type="fetch")
        shown = await eventually(half_way, what="it is half-way")
        assert 0 < shown["percent"] < 100
        remote.go_on()
        done = await there.ended(begun)
    assert (done["status"], done["progress"]["percent"]) == ("succeeded", 100)

    async def all_told() -> Any:
        told = await there.told(begun, "progressed")
        return told if told and told[-1]["percent"] == 100 else None

    told = await eventually(all_told, what="all was told")
    assert [each["number"] for each in told] == list(range(1, len(told) + 1))
    places = [(PHASES.index(each["phase"]), each["percent"]) for each in told]
    assert len(places) > 1
    assert places == sorted(set(places))
    assert {(each["attempt"], each["step"]) for each in told} == {(1, "fetch")}


def test_what_a_remote_says_of_itself_is_not_believed() -> None:
    heard = Percentages()
    heard.hear(b"remote: Counting objects:  50% (1/2)\rremote: Receiving objects: 99% (1/2)\r")
    assert heard.latest is not None
    assert (heard.latest.phase, heard.latest.percent) == ("counting", 50)
    heard.hear(b"Receiving objects:  4")
    heard.hear(b"2% (42/100)\rReceiving objects:  41% (41/100)\rremote: Counting objects:  80% (8/10)\r")
    assert (heard.latest.phase, heard.latest.percent) == ("receiving", 42)
    heard.hear(b"Receiving objects: 999% (1/2)\r" + b"x" * 1_000_000)
    heard.hear(b"\rReceiving objects: 43% (43/100), 1 MiB\r")
    assert (heard.latest.phase, heard.latest.percent) == ("receiving", 43)


async def test_a_fetch_that_hangs_is_cancelled_at_once(there: OperationPerson) -> None:
    place = await fetched_place(there)
    newest = large_commit(place)
    with SlowRemote(there.scene.remote) as remote:
        begun = await there.begin(place, type="fetch")
        assert await asyncio.to_thread(remote.waiting.wait, 30)
        before = time.monotonic()
        answer = await there.cancel(begun)
        assert answer["status"] == "cancelled"
        # Nobody holds the mirror any more: what others want of it does not wait for what hangs.
        remote.go_on()
        done = await there.done(place, type="fetch")
        assert time.monotonic() - before < 10
    assert (await there.look(begun))["status"] == "cancelled"
    assert done["changed"] is True
    mirror = mirror_of(there, place)
    git(mirror, "fsck", "--strict", "--no-dangling")
    assert git(mirror, "rev-parse", "refs/heads/main").strip() == newest
    assert (await there.cancel(begun, status=409))["code"] == "already_ended"
    assert [each["status"] for each in await there.told(begun)] == ["pending", "running", "cancelled"]


async def test_cancelling_kills_git_within_two_seconds(there: OperationPerson) -> None:
    place = await fetched_place(there)
    large_commit(place)
    folder = str(mirror_of(there, place)).encode()

    async def none_is_left() -> bool:
        return not _processes_about(folder)

    with SlowRemote(there.scene.remote) as remote:
        begun = await there.begin(place, type="fetch")
        assert await asyncio.to_thread(remote.waiting.wait, 30)
        assert _processes_about(folder)
        before = time.monotonic()
        await there.cancel(begun)
        await eventually(none_is_left, within=5, what="git has ended")
        assert time.monotonic() - before < 2.0


def _processes_about(folder: bytes) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


async def test_whoever_waits_for_a_fetch_hears_that_it_was_cancelled(there: OperationPerson) -> None:
    place = await fetched_place(there)
    large_commit(place)
    with SlowRemote(there.scene.remote) as remote:
        asking = asyncio.create_task(there.scene.ask("POST", f"/{place.repository}/fetch", status=409))
        assert await asyncio.to_thread(remote.waiting.wait, 30)
        [begun] = await there.listed(place)
        await there.cancel(begun)
        assert (await asking)["code"] == "cancelled"


async def test_an_operation_of_a_command_is_cancelled_as_others_are(there: OperationPerson) -> None:
    """By the id that the gateway has given it."""
    place = await fetched_place(there)
    large_commit(place)
    http = there.scene.http
    with SlowRemote(there.scene.remote):
        patience, http.clients.patience = http.clients.patience, 0.2
        try:
            path = f"/api/v1/repositories/{place.repository}/fetch"
            answer = await http.post(path, headers=there.headers)
        finally:
            http.clients.patience = patience
        assert answer.status_code == 202
        command = f"/api/v1/operations/{answer.headers['X-Operation-ID']}"
        cancelled = await http.post(f"{command}/cancel", headers=there.headers)
        assert cancelled.status_code == 200, cancelled.text
        [begun] = await there.listed(place)
        assert begun["status"] == "cancelled"
        assert (await http.post(f"{command}/cancel", headers=there.headers)).status_code == 409


async def test_a_push_that_is_under_way_is_finished(there: OperationPerson) -> None:
    place = await fetched_place(there)
    with StuckRemote(there.scene.remote, "POST", "git-receive-pack", does_it=True) as remote:
        begun = await there.begin(place, type="branch", name="x")
        assert await asyncio.to_thread(remote.waiting.wait, 30)
        answer = await there.cancel(begun)
        assert (answer["status"], answer["cancelling"]) == ("running", True)
        remote.go_on()
        done = await there.ended(begun)
    assert (done["status"], done["cancelling"]) == ("succeeded", False)
    assert refs_of(place)["refs/heads/x"] == place.base


async def test_what_did_not_arrive_is_not_pushed_again(there: OperationPerson) -> None:
    """Cancelled while it was pushed, and the remote was not there to take it."""
    place = await fetched_place(there)
    away = partial(_away, f"{place.remote.name}/git-receive-pack")
    with StuckRemote(there.scene.remote, "GET", "git-receive-pack", does_it=False) as remote:
        there.scene.remote.behaviours.append(away)
        try:
            begun = await there.begin(place, type="branch", name="x")
            assert await asyncio.to_thread(remote.waiting.wait, 30)
            assert (await there.cancel(begun))["cancelling"] is True
            remote.go_on()
            done = await there.ended(begun)
        finally:
            there.scene.remote.behaviours.remove(away)
    assert (done["status"], done["commitSha"]) == ("cancelled", None)
    assert refs_of(place) == {"refs/heads/main": place.base}


def _away(path: str, handler: Any) -> bool:
    if path not in handler.path and "service=git-receive-pack" not in handler.path:
        return False
    handler.answer(503)
    return True


async def test_a_remote_in_trouble_is_tried_again(there: OperationPerson) -> None:
    place = await fetched_place(there)
    away = partial(answering, 503, place.remote.name)
    there.scene.remote.behaviours.append(away)
    begun = await there.begin(place, type="tag", name="v1", message="One")

    async def tried() -> bool:
        return bool((await there.look(begun))["status"] == "running")

    try:
        await eventually(tried, what="it is tried")
        before = len(there.scene.remote.requests)

        async def tried_again() -> bool:
            return len(there.scene.remote.requests) > before

        await eventually(tried_again, within=30, what="it is tried again")
    finally:
        there.scene.remote.behaviours.remove(away)
    assert (await there.ended(begun))["status"] == "succeeded"


async def test_only_who_asked_and_maintainers_cancel(there: OperationPerson) -> None:
    place = await fetched_place(there)
    large_commit(place)
    developer = await there.scene.http.join(there.headers, there.scene.project, "developer")
    with SlowRemote(there.scene.remote) as remote:
        begun = await there.begin(place, type="fetch")
        assert await asyncio.to_thread(remote.waiting.wait, 30)
        path = f"/{place.repository}/operations/{begun['id']}/cancel"
        answer = await there.scene.ask("POST", path, status=403, headers=developer)
        assert answer["code"] == "role_too_low"
        assert (await there.look(begun))["status"] == "running"
        remote.go_on()
        assert (await there.ended(begun))["status"] == "succeeded"


async def test_a_repository_that_is_deleted_meanwhile(there: OperationPerson) -> None:
    """Whoever has looked at it before tries once more, in vain."""
    place = await fetched_place(there)
    away = partial(answering, 503, place.remote.name)
    there.scene.remote.behaviours.append(away)

    async def ended() -> Any:
        async with there.scene.installation.sql() as connection:
            row = await connection.fetchrow(
                "select status, error::text from git.operations where id = $1", begun["id"]
            )
        return row if row["status"] not in ("pending", "running") else None

    try:
        begun = await there.begin(place, type="branch", name="x")

        async def tried() -> bool:
            return bool((await there.look(begun))["status"] == "running")

        await eventually(tried, what="it is tried")
        await there.scene.ask("DELETE", f"/{place.repository}", status=204)
        status, error = await eventually(ended, within=60, what="it has ended")
    finally:
        there.scene.remote.behaviours.remove(away)
    assert status == "failed"
    assert "repository_not_found" in error
    assert refs_of(place) == {"refs/heads/main": place.base}


async def test_a_cleanup_keeps_what_is_needed(there: OperationPerson) -> None:
    """What nobody names goes after a day; what a checkout began with stays, whatever the remote has done."""
    place = await fetched_place(there)
    commits = {}
    for name in ("needed", "kept"):
        git(place.remote, "update-ref", f"refs/heads/{name}", "refs/heads/main")
        commits[name] = add_commit(place.remote, {f"{name}.txt": name}, branch=name)
    await there.done(place, type="fetch")
    async with there.scene.installation.bus() as bus:
        checkout = await GitPerson(there.scene, bus).prepared(place.repository, branch="needed")
    assert checkout.commit == commits["needed"]
    mirror = mirror_of(there, place)
    git(mirror, "update-ref", f"refs/signalbox/commits/{commits['kept']}", commits["kept"])
    for name in commits:
        git(place.remote, "update-ref", "-d", f"refs/heads/{name}")
    await there.done(place, type="fetch")
    lost = git(mirror, "hash-object", "-w", "--stdin", given=os.urandom(100_000)).strip()
    _make_old(mirror)
    fresh = git(mirror, "hash-object", "-w", "--stdin", given=b"new").strip()
    done = await there.done(place, type="cleanup")
    assert (done["changed"], done["freedBytes"] > 0) == (True, True)
    git(mirror, "fsck", "--strict", "--no-dangling")
    assert git(mirror, "for-each-ref", "--format=%(refname)", "refs/signalbox").split() == [
        f"refs/signalbox/commits/{commits['needed']}"
    ]
    asked = [commits["needed"], commits["kept"], lost, fresh, place.base]
    said = git(
        mirror,
        "cat-file",
        "--batch-check=%(objecttype)",
        given="".join(f"{each}\n" for each in asked).encode(),
    )
    assert [line.split()[-1] for line in said.splitlines()] == [
        "commit",
        "missing",
        "missing",
        "blob",
        "commit",
    ]
    found = await there.scene.ask("GET", f"/{place.repository}")
    assert 0 < found["sizeBytes"] < 1_000_000
    again = await there.done(place, type="cleanup")
    assert again["status"] == "succeeded"


def _make_old(mirror: Path) -> None:
    moment = time.time() - 3 * 86_400
    for path in (*mirror.glob("objects/??/*"), *mirror.glob("objects/pack/*")):
        os.utime(path, (moment, moment))


async def test_a_cleanup_beside_readers(there: OperationPerson) -> None:
    """Whoever looks meanwhile sees all that there is."""
    place = await fetched_place(there)
    large_commit(place, files=30)
    await there.done(place, type="fetch")
    tip = git(place.remote, "rev-parse", "main").strip()

    async def look(number: int) -> None:
        shown = await there.scene.ask("GET", f"/{place.repository}/commit", params={"ref": tip})
        assert len(shown["files"]) == 30, number

    cleaning = [there.done(place, type="cleanup") for _ in range(3)]
    await asyncio.gather(*cleaning, *(look(number) for number in range(40)))
    git(mirror_of(there, place), "fsck", "--strict", "--no-dangling")


async def test_what_waits_for_others_is_cancelled_before_it_begins(there: OperationPerson) -> None:
    """A project has so many at work at a time: the next one waits, and may be taken back."""
    place = await fetched_place(there)
    with StuckRemote(there.scene.remote, "GET", place.remote.name, does_it=False) as remote:
        others = [await there.begin(place, type="fetch") for _ in range(MOST_IN_PROJECT)]
        assert await asyncio.to_thread(remote.waiting.wait, 30)

        async def all_begun() -> bool:
            return {(await there.look(each))["status"] for each in others} == {"running"}

        await eventually(all_begun, what="all of them are at work")
        last = await there.begin(place, type="branch", name="x")
        cancelled = await there.cancel(last)
        assert (cancelled["status"], cancelled["startedAt"]) == ("cancelled", None)
        remote.go_on()
        assert {(await there.ended(each))["status"] for each in others} == {"succeeded"}
    assert [each["status"] for each in await there.told(last)] == ["pending", "cancelled"]
    assert refs_of(place) == {"refs/heads/main": place.base}
