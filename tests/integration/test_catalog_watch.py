"""Whoever watches is told each change once and in order, wherever connections, gateways and catalogs end."""

import asyncio
import io
import json
import random
import statistics
import time
import uuid
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

import httpx
import pytest
import yaml
from nats.js.errors import NotFoundError

from signalbox_catalog.service import tidying
from signalbox_catalog.store import revisions as revision_rows
from signalbox_common.bus import Bus
from signalbox_common.contracts.catalog import Apply
from signalbox_common.contracts.streams import PACKAGE_BUCKET
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_gateway import app as gateway_app
from signalbox_gateway.live import resource_watch
from signalbox_gateway.live.resource_watch import ChangeSignals
from tests.support.catalog import KINDS, SPECS, YAML, Catalog, catalog_of
from tests.support.forgery import Signer
from tests.support.installation import Http, Installation
from tests.support.pace import pace, soon
from tests.support.people import registered
from tests.support.sse import BOOKMARK, Follower, Reader, Told, outbox_is_empty, published, watching

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

T = TypeVar("T")
What = tuple[str, str, int]
GHOST = SPECS["ghosts"]
TYPES = {"created": "ADDED", "restored": "ADDED", "updated": "MODIFIED", "deleted": "DELETED"}
GHOSTS = f"{KINDS}/ghosts"


@dataclass
class Scene:
    """A catalog behind a gateway with an address, and somebody with two projects."""

    installation: Installation
    catalog: Catalog
    address: str
    other: str
    """The name of the second project."""

    @property
    def http(self) -> Http:
        return self.catalog.http

    @property
    def me(self) -> dict[str, str]:
        return self.catalog.headers

    async def patch(self, name: str, spec: dict[str, Any], **query: Any) -> Any:
        answer = await self.http.patch(f"{GHOSTS}/{name}", json={"spec": spec}, params=query, headers=self.me)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def delete(self, path: str, **query: Any) -> None:
        answer = await self.http.delete(f"{KINDS}/{path}", params=query, headers=self.me)
        assert answer.status_code == 204, answer.text

    def watch(self, plural: str = "ghosts", **query: Any) -> AbstractAsyncContextManager[Reader]:
        return watching(self.address, plural, self.me, **query)


@asynccontextmanager
async def scene_of(installation: Installation, **changes: Any) -> AsyncIterator[Scene]:
    service = installation.catalog(**changes)
    async with (
        installation.running_auth(),
        running(service),
        installation.served_gateway(shutdown_grace=1.0) as (http, address),
    ):
        headers = await http.sign_up("developer")
        made = await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=headers)
        assert made.status_code == 201, made.text
        yield Scene(installation, Catalog(http, service, headers), address, "other")


async def happened(installation: Installation, namespace: str, kind: str = "Ghost") -> list[What]:
    """All changes of a kind, as a watcher is to be told of them, from the tables."""
    async with installation.sql() as sql:
        rows = await sql.fetch(
            "select r.version, r.change, r.resource ->> 'name' as name from catalog.revisions r"
            " join catalog.namespaces using (project_id) where slug = $1 and kind = $2"
            " order by r.version",
            namespace,
            kind,
        )
    return [(TYPES[row["change"]], row["name"], row["version"]) for row in rows]


def told(changes: list[Told]) -> list[What]:
    """What somebody was told; each change with its own version as its id."""
    assert all(change.id == change.version for change in changes if change.id is not None)
    return [change.what for change in changes]


class Ended(Generic[T]):
    """Something that a test stops and starts anew."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._stack = AsyncExitStack()

    async def start(self) -> T:
        return await self._stack.enter_async_context(self._make())

    async def stop(self) -> None:
        await self._stack.aclose()


# -- a thousand changes --------------------------------------------------------------------------------

PATCHES, BATCHES, BATCH, SHORT_LIVES = 240, 30, 20, 80
CHANGES = PATCHES + BATCHES * BATCH + 2 * SHORT_LIVES


class Writers:
    """Those who change things all the while; each of their requests is repeated until it was done."""

    def __init__(self, http: Http, me: dict[str, str]) -> None:
        self._http = http
        self._me = me
        self.repeated = 0

    async def done(self, method: str, path: str, **given: Any) -> None:
        headers = self._me | {"Idempotency-Key": uuid.uuid4().hex} | given.pop("headers", {})
        while True:
            answer = await self._http.request(method, path, headers=headers, **given)
            if answer.status_code < 300 and answer.status_code != 202:
                return
            if answer.status_code == 409 and answer.json()["code"] == "already_done":
                return
            assert answer.status_code in (202, 503, 504), answer.text
            self.repeated += 1
            await asyncio.sleep(0.05)

    async def patch(self) -> None:
        for number in range(PATCHES):
            where = f"{GHOSTS}/patched-{number % 5}"
            await self.done("PATCH", where, json={"spec": {"count": number}})
            if number % 4 == 0:  # what others are told, or nobody
                await self.done("PATCH", f"{KINDS}/shells/s", json={"spec": {"count": number}})
                other = {"namespace": "other"}
                await self.done("PATCH", f"{GHOSTS}/elsewhere", json={"spec": {"n": number}}, params=other)

    async def apply(self) -> None:
        for number in range(BATCHES):
            docs = [
                {
                    "apiVersion": "signalbox.dev/v1",
                    "kind": "Ghost",
                    "metadata": {"name": f"applied-{n}"},
                    "spec": {"systemPrompt": f"{number}"},
                }
                for n in range(BATCH)
            ]
            await self.done("POST", "/api/v1/apply", content=yaml.safe_dump_all(docs), headers=YAML)

    async def live_shortly(self) -> None:
        for number in range(SHORT_LIVES):
            body = {"metadata": {"name": f"short-{number % 3}"}, "spec": GHOST}
            await self.done("POST", GHOSTS, json=body)
            await self.done("DELETE", f"{GHOSTS}/short-{number % 3}")


async def test_a_thousand_changes_through_all_that_can_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients come again by header and by query, to new gateways and new catalogs; another gateway stays."""
    monkeypatch.setattr(Apply, "patience", 3.0)  # for one that is lost when the catalog stops
    chance = random.Random(5)
    at = sorted(chance.sample(range(CHANGES // 10, CHANGES * 8 // 10), 4))
    gateway = Ended(lambda: installation.served_gateway(shutdown_grace=1.0))
    catalog = Ended(lambda: running(installation.catalog()))
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.served_gateway(shutdown_grace=1.0) as (_, steady_address),
    ):
        me = await http.sign_up("developer")
        await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=me)
        first = Catalog(http, await catalog.start(), me)
        _, address = await gateway.start()
        for number in range(5):
            await first.create("ghosts", f"patched-{number}")
        await first.create("shells", "s")
        await first.create("ghosts", "elsewhere", namespace="other")
        before = await happened(installation, "developer")
        by_header = Follower(address, "ghosts", me)
        by_query = Follower(address, "ghosts", me, by_header=False)
        steady = Follower(steady_address, "ghosts", me)
        followers = (by_header, by_query, steady)
        for follower in followers:
            follower.start(int((await first.get("ghosts"))["resourceVersion"]))
        writers = Writers(http, me)
        started = time.perf_counter()
        writing = [
            asyncio.create_task(work()) for work in (writers.patch, writers.apply, writers.live_shortly)
        ]

        async def reached(count: int) -> None:
            async def look() -> bool:
                assert not any(follower.refused for follower in followers)
                return all(len(follower.changes) >= count for follower in followers)

            await eventually(look, within=60, what=f"{count} changes for everybody")

        await reached(at[0])
        by_header.drop()
        by_query.drop()
        await reached(at[1])
        await gateway.stop()
        _, address = await gateway.start()
        by_header.address = by_query.address = address
        await reached(at[2])
        await catalog.stop()
        await catalog.start()
        await reached(at[3])
        by_header.drop()
        steady.drop()
        await asyncio.gather(*writing)
        await reached(CHANGES)
        took = time.perf_counter() - started
        everything = (await happened(installation, "developer"))[len(before) :]
        assert len(everything) == CHANGES
        # One more, by which everybody would have been told whatever is too much.
        await writers.done("PATCH", f"{GHOSTS}/patched-0", json={"spec": {"last": True}})
        everything.append((await happened(installation, "developer"))[-1])
        await reached(CHANGES + 1)
        for follower in followers:
            assert told(follower.changes) == everything, "each once, in order, and nothing else"
            ids = [mark.id or 0 for mark in follower.bookmarks]
            assert ids == sorted(ids)
            await follower.stop()
        assert (by_header.connections, by_query.connections) >= (4, 3)
        await gateway.stop()
        await catalog.stop()
    print(
        f"{CHANGES} changes to 3 watchers in {took:.1f} s, ended at {at}:"
        f" {[follower.connections for follower in followers]} connections, {writers.repeated} repeated writes"
    )


# -- list, then watch ----------------------------------------------------------------------------------


def folded(items: list[Any], changes: list[Told]) -> dict[str, Any]:
    """What somebody knows who began with a list and was told what came after it."""
    known = {item["metadata"]["name"]: item for item in items}
    for change in changes:
        if change.type == "DELETED":
            known.pop(change.name, None)
        else:
            known[change.name] = change.object
    return known


@dataclass
class Known:
    """Somebody's list, and the watch that was opened with it."""

    items: list[Any]
    version: int
    reader: Reader


async def test_list_then_watch_misses_nothing(installation: Installation) -> None:
    """Lists of one page and of many, and watches that begin with all that there is, amid writes."""
    changes, moments = 120, 6
    async with scene_of(installation) as scene, AsyncExitStack() as open_ones:
        for number in range(6):
            await scene.catalog.create("ghosts", f"g{number}")
        chance = random.Random(1)
        written = 0

        async def write() -> None:
            nonlocal written
            there = {f"g{number}" for number in range(6)}
            for number in range(changes):
                written = number
                name = f"g{chance.randrange(9)}"
                if name not in there:
                    await scene.catalog.create("ghosts", name)
                    there.add(name)
                elif number % 3 == 0:
                    await scene.delete(f"ghosts/{name}")
                    there.discard(name)
                else:
                    await scene.patch(name, {"count": number})

        async def listed(limit: int) -> Known:
            page = await scene.catalog.get("ghosts", limit=limit)
            items, version = page["items"], page["resourceVersion"]
            while page["nextCursor"]:
                page = await scene.catalog.get("ghosts", limit=limit, cursor=page["nextCursor"])
                items = items + page["items"]
            reader = await open_ones.enter_async_context(scene.watch(resourceVersion=version))
            return Known(items, int(version), reader)

        writing = asyncio.create_task(write())
        lists: list[Known] = []
        snapshots: list[Reader] = []
        for moment in range(moments):

            async def far_enough(moment: int = moment) -> bool:
                return written >= moment * changes // moments

            await eventually(far_enough, within=30)
            lists += [await listed(500), await listed(2)]
            snapshots += [await open_ones.enter_async_context(scene.watch(limit=limit)) for limit in (100, 2)]
        assert not writing.done(), "all of this was to be amid writes"
        await writing
        everything = await happened(installation, "developer")
        final = {item["metadata"]["name"]: item for item in (await scene.catalog.get("ghosts"))["items"]}
        last = everything[-1][2]
        positions = set()
        for known in lists:
            after = [what for what in everything if what[2] > known.version]
            await known.reader.until(lambda known=known, after=after: len(known.reader.changes) >= len(after))  # type: ignore[misc]  # the loop's own
            assert told(known.reader.changes) == after
            assert folded(known.items, known.reader.changes) == final
            positions.add(known.version)
        for reader in snapshots:
            await reader.until(lambda reader=reader: reader.told and (reader.told[-1].id or 0) >= last)  # type: ignore[misc]  # as above
            marks = [n for n, each in enumerate(reader.told) if each.type == BOOKMARK]
            begun, version = marks[0], reader.told[marks[0]].id or 0
            assert {each.type for each in reader.told[:begun]} <= {"ADDED"}
            assert {each.id for each in reader.told[:begun]} <= {None}
            rest = [each for each in reader.told[begun:] if each.type != BOOKMARK]
            assert told(rest) == [what for what in everything if what[2] > version]
            assert folded([], reader.changes) == final
        assert len(positions) > moments, "they began at many different moments"
    print(f"{changes} writes, {len(lists)} lists and {len(snapshots)} snapshots between them")


async def test_long_pasts_and_large_changes_come_in_parts(installation: Installation) -> None:
    """More changes than one look takes, and more than fit into one message."""
    async with scene_of(installation) as scene:
        for number in range(3):
            docs = [
                {
                    "apiVersion": "signalbox.dev/v1",
                    "kind": "Ghost",
                    "metadata": {"name": f"g{n}", "labels": {"odd": str(n % 2)}},
                    "spec": {"systemPrompt": f"{number}"},
                }
                for n in range(150)
            ]
            assert (await scene.catalog.apply(yaml.safe_dump_all(docs))).status_code == 200
        large = "x" * 200_000
        for number in range(10):
            await scene.patch(f"g{number % 3}", {"large": f"{number}{large}"})
        everything = await happened(installation, "developer")
        assert len(everything) == 460
        odd = [what for what in everything if int(what[1].removeprefix("g")) % 2]
        async with (
            scene.watch(resourceVersion="0") as all_of_them,
            scene.watch(resourceVersion="0", labelSelector="odd=1") as odd_ones,
        ):
            await all_of_them.until(lambda: len(all_of_them.changes) >= 460)
            await odd_ones.until(lambda: odd_ones.told and (odd_ones.told[-1].id or 0) >= odd[-1][2])
            assert told(all_of_them.changes) == everything
            assert told(odd_ones.changes) == odd
            for number, change in enumerate(all_of_them.changes[450:]):
                assert change.object["spec"]["large"] == f"{number}{large}"


async def test_a_watch_that_begins_while_the_catalog_is_away_is_not_told_the_past(
    installation: Installation,
) -> None:
    """All that there is comes first, as `ADDED`; not what was deleted long before."""
    async with installation.running_auth(), installation.served_gateway() as (http, address):
        me = await http.sign_up("developer")
        async with running(installation.catalog()) as service:
            catalog = Catalog(http, service, me)
            await catalog.create("ghosts", "past")
            assert (await http.delete(f"{GHOSTS}/past", headers=me)).status_code == 204
            await catalog.create("ghosts", "present")
        follower = Follower(address, "ghosts", me)
        follower.start()

        async def connected() -> bool:
            return follower.connections > 0

        await eventually(connected)
        async with running(installation.catalog()):

            async def knows() -> bool:
                return any(change.name == "present" for change in follower.changes)

            await eventually(knows)
            await follower.stop()
        assert {change.what[:2] for change in follower.changes} == {("ADDED", "present")}


# -- selectors -----------------------------------------------------------------------------------------

FITS: dict[str, Callable[[dict[str, str]], bool]] = {
    "": lambda _labels: True,
    "team=a": lambda labels: labels.get("team") == "a",
    "team!=a": lambda labels: labels.get("team") != "a",
    "!team": lambda labels: "team" not in labels,
    "team in (a, b),hot": lambda labels: labels.get("team") in ("a", "b") and "hot" in labels,
}


async def test_a_selector_sees_resources_come_and_go(installation: Installation) -> None:
    async with scene_of(installation) as scene, AsyncExitStack() as open_ones:
        readers = {
            selector: await open_ones.enter_async_context(
                scene.watch(resourceVersion="0", labelSelector=selector)
            )
            for selector in FITS
        }
        expected: dict[str, list[What]] = {selector: [] for selector in FITS}
        labels: dict[str, dict[str, str] | None] = {"x": None, "y": None, "z": None}
        version = 0

        async def step(request: Coroutine[Any, Any, httpx.Response], name: str, after: Any) -> None:
            """A change of one resource, and what everybody is to be told of it."""
            nonlocal version
            answer = await request
            assert answer.status_code in (200, 201, 204), answer.text
            version += 1
            for selector, fits in FITS.items():
                before = labels[name]
                was = before is not None and fits(before)
                now = after is not None and fits(after)
                kind = {(1, 1): "MODIFIED", (0, 1): "ADDED", (1, 0): "DELETED"}.get((was, now))
                if kind is not None:
                    expected[selector].append((kind, name, version))
            labels[name] = after

        def relabelled(name: str, after: dict[str, str]) -> Coroutine[Any, Any, httpx.Response]:
            gone: dict[str, Any] = dict.fromkeys(labels[name] or {})
            patch = {"metadata": {"labels": gone | after}}
            return scene.http.patch(f"{GHOSTS}/{name}", json=patch, headers=scene.me)

        def made(name: str, after: dict[str, str]) -> Coroutine[Any, Any, httpx.Response]:
            body = {"metadata": {"name": name, "labels": after}, "spec": GHOST}
            return scene.http.post(GHOSTS, json=body, headers=scene.me)

        a, b, hot, none = {"team": "a"}, {"team": "b"}, {"team": "a", "hot": ""}, dict[str, str]()
        await step(made("x", a), "x", a)
        await step(made("y", none), "y", none)
        for next_ones in (b, a, none, hot, {"hot": "x"}, hot, b, a):
            await step(relabelled("x", next_ones), "x", next_ones)
        for number in range(3):
            spec = {"spec": {"count": number}}
            await step(scene.http.patch(f"{GHOSTS}/x", json=spec, headers=scene.me), "x", a)
            await step(scene.http.patch(f"{GHOSTS}/y", json=spec, headers=scene.me), "y", none)
        await step(scene.http.delete(f"{GHOSTS}/x", headers=scene.me), "x", None)
        await step(scene.http.post(f"{GHOSTS}/x/restore", headers=scene.me), "x", a)
        back = f"{GHOSTS}/x/history/1/rollback"
        await step(scene.http.post(back, headers=scene.me), "x", a)
        document = {"apiVersion": "signalbox.dev/v1", "kind": "Ghost", "spec": GHOST}
        whole = document | {"metadata": {"name": "z", "labels": hot}}
        await step(scene.catalog.apply(json.dumps(whole)), "z", hot)
        one = document | {"metadata": {"name": "y", "labels": {}}}
        pruned = await scene.catalog.apply(json.dumps(one), prune="true", labelSelector="hot")
        assert [item["action"] for item in pruned.json()["items"]] == ["updated", "deleted"]
        for name, after in (("y", none), ("z", None)):
            await step(_answered(pruned), name, after)
        await step(relabelled("y", hot), "y", hot)
        assert {all_[-1][1:] for all_ in expected.values()} == {("y", version)}, "this, everybody is told"
        for selector, reader in readers.items():
            await reader.until(lambda reader=reader: reader.told and reader.told[-1].id == version)  # type: ignore[misc]  # the loop's own
            assert told(reader.changes) == expected[selector], selector
            seen = [change for change in reader.changes if change.type != "DELETED"]
            assert all(FITS[selector](change.object["metadata"]["labels"]) for change in seen)
        assert all(len(changes) >= 3 for changes in expected.values())
        # A bookmark is as good to go on from as a change.
        mark = next(each for each in reversed(readers["team=a"].told) if each.type == BOOKMARK)
        after_it = [what for what in expected["team=a"] if what[2] > (mark.id or 0)]
        async with scene.watch(last_event_id=mark.id, labelSelector="team=a", timeoutSeconds=1) as late:
            await late.until(lambda: late.ended)
            assert told(late.changes) == after_it
    print(f"{version} changes: { ({selector: len(all_) for selector, all_ in expected.items()}) }")


async def _answered(answer: httpx.Response) -> httpx.Response:
    return answer


# -- how fast, how long --------------------------------------------------------------------------------


async def test_a_change_is_told_at_once(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two gateways, idle; neither needs the look that is there in case a hint was lost."""
    monkeypatch.setattr(live_changes, "LOOK_EVERY", 60.0)
    rounds = 40
    async with (
        scene_of(installation) as scene,
        installation.served_gateway(shutdown_grace=1.0) as (_, second),
    ):
        version = (await scene.catalog.create("ghosts", "g"))["metadata"]["resourceVersion"]
        async with (
            scene.watch(resourceVersion=version) as here,
            watching(second, "ghosts", scene.me, resourceVersion=version) as there,
        ):
            delays: list[float] = []
            writing: list[float] = []
            for number in range(rounds):
                began = time.perf_counter()
                await scene.patch("g", {"count": number})
                answered = time.perf_counter()
                writing.append(answered - began)
                for reader in (here, there):
                    await reader.until(lambda reader=reader, n=number: len(reader.changes) > n)  # type: ignore[misc]  # the loop's own
                    delays.append(reader.changes[number].at - answered)
            assert told(here.changes) == told(there.changes)
            assert len(here.changes) == rounds
    print(
        f"event to client after the writer's answer: median {statistics.median(delays) * 1000:.1f} ms,"
        f" slowest {max(delays) * 1000:.1f} ms; writing itself: median"
        f" {statistics.median(writing) * 1000:.1f} ms, slowest {max(writing) * 1000:.1f} ms"
    )
    assert statistics.median(delays) < 5 * statistics.median(writing)


async def test_a_watch_ends_with_what_it_stands_on(installation: Installation) -> None:
    """The session, the API token, the membership, the project: each within a second."""
    slowest = 0.0
    async with scene_of(installation) as scene:
        http, me = scene.http, scene.me
        control = await pace(lambda: http.me(me))
        project = next(
            item["id"]
            for item in (await http.get("/api/v1/projects", headers=me)).json()["items"]
            if item["slug"] == "other"
        )
        members = f"/api/v1/projects/{project}/members"
        await scene.catalog.create("ghosts", "g", namespace="other")

        async def ends(
            who: dict[str, str], end: Callable[[], Awaitable[httpx.Response]], status: int
        ) -> None:
            nonlocal slowest
            async with watching(scene.address, "ghosts", who, namespace="other") as reader:
                await reader.until(lambda: reader.told and reader.told[-1].type == BOOKMARK)
                assert not reader.ended
                before = time.perf_counter()
                answer = await end()
                assert answer.status_code == 204, answer.text
                await reader.until(lambda: reader.ended, what="the end")
                assert reader.ended_at is not None
                slowest = max(slowest, reader.ended_at - before)
            async with watching(scene.address, "ghosts", who, namespace="other") as again:
                assert again.status == status, again.problem

        leaver = await http.join(me, project, "viewer")
        logout = lambda: http.post("/api/v1/auth/logout", headers=leaver)  # noqa: E731 - one of four
        await ends(leaver, logout, 401)

        removed = await http.join(me, project, "viewer")
        removed_id = (await http.me(removed))["id"]
        await ends(
            removed,
            lambda: http.delete(f"{members}/{removed_id}", headers=me),
            404,
        )
        token = (await http.post("/api/v1/auth/tokens", json={"name": "t"}, headers=me)).json()
        machine = {"Authorization": f"Bearer {token['token']}"}
        await ends(
            machine,
            lambda: http.delete(f"/api/v1/auth/tokens/{token['id']}", headers=me),
            401,
        )
        stays = await http.join(me, project, "viewer")
        await ends(
            stays,
            lambda: http.delete(f"/api/v1/projects/{project}", headers=me),
            404,
        )
    print(f"the slowest end came after {slowest * 1000:.0f} ms")
    assert slowest < soon(control)


async def test_a_watch_ends_in_time(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer()
    await signer.publish(installation)
    async with scene_of(installation) as scene:
        person = await registered(scene.http)

        async def lasts(who: dict[str, str], **query: Any) -> float:
            began = time.perf_counter()
            async with watching(scene.address, "ghosts", who, resourceVersion="0", **query) as reader:
                assert reader.status == 200, reader.problem
                await reader.until(lambda: reader.ended, what="the end")
                assert reader.ended_at is not None
                return reader.ended_at - began

        assert await lasts(person.headers, timeoutSeconds=1) > 0.9
        expires = int(time.time()) + 3
        dying = {"Authorization": f"Bearer {signer.access(person, {'exp': expires})}"}
        await lasts(dying, timeoutSeconds=60)
        assert time.time() - expires > -0.1, "with its token, and not before"
        async with watching(scene.address, "ghosts", dying) as late:
            assert late.status == 401
        monkeypatch.setattr(resource_watch, "LONGEST", 1.0)
        assert await lasts(person.headers, timeoutSeconds=3600) > 0.9, "and yet no longer than the longest"


async def test_an_idle_watch_shows_that_it_lives(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_watch, "ALIVE_EVERY", 0.3)
    monkeypatch.setattr(resource_watch, "LOOK_EVERY", 0.1)
    async with scene_of(installation) as scene:
        await scene.catalog.create("ghosts", "g")
        async with scene.watch(resourceVersion="1") as reader:
            await reader.until(lambda: len(reader.told) >= 3)
            assert {(each.type, each.id) for each in reader.told} == {(BOOKMARK, 1)}
            assert reader.parser.retry == 1000


async def test_what_cannot_be_watched_is_refused(installation: Installation) -> None:
    async with scene_of(installation) as scene:
        await scene.catalog.create("ghosts", "g")
        stranger = await scene.http.sign_up()
        refusals: tuple[tuple[str, dict[str, str], dict[str, Any], tuple[int, str]], ...] = (
            ("ghosts", scene.me, {"resourceVersion": "7"}, (410, "expired")),
            ("ghosts", scene.me, {"resourceVersion": "9" * 20}, (410, "expired")),
            ("ghosts", scene.me, {"resourceVersion": "-1"}, (422, "bad_version")),
            ("ghosts", scene.me, {"resourceVersion": "x"}, (422, "bad_version")),
            ("ghosts", scene.me, {"cursor": "x"}, (422, "validation_failed")),
            ("ghosts", scene.me, {"deleted": "true"}, (422, "validation_failed")),
            ("ghosts", scene.me, {"resourceVersion": "1", "labelSelector": "=="}, (422, "validation_failed")),
            ("ghosts", scene.me, {"labelSelector": "=="}, (422, "validation_failed")),
            ("phantoms", scene.me, {"resourceVersion": "1"}, (404, "kind_not_found")),
            ("phantoms", scene.me, {}, (404, "kind_not_found")),
            ("ghosts", stranger, {"namespace": "developer"}, (404, "project_not_found")),
            ("ghosts", {"Authorization": "Bearer x"}, {}, (401, "unauthenticated")),
        )
        for plural, who, query, refusal in refusals:
            async with watching(scene.address, plural, who, timeoutSeconds=1, **query) as reader:
                assert (reader.status, reader.problem.get("code")) == refusal, (plural, query)


# -- nothing is left behind ----------------------------------------------------------------------------


def subscriptions(signals: ChangeSignals) -> list[str]:
    """What its connection to the bus listens to for the sake of watchers."""
    subjects = [str(each.subject) for each in signals._bus.connection.client._subs.values()]
    return [subject for subject in subjects if ".catalog.resource" in subject]


async def test_those_who_leave_leave_no_subscription(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They close, they time out, they are logged out, or break off amid changes."""
    made: list[ChangeSignals] = []

    def make(bus: Bus) -> ChangeSignals:
        made.append(ChangeSignals(bus))
        return made[-1]

    monkeypatch.setattr(gateway_app, "ChangeSignals", make)
    async with scene_of(installation) as scene:
        (signals,) = made
        people = [await scene.http.sign_up() for _ in range(3)]

        async def all_gone() -> bool:
            return not signals._projects and not subscriptions(signals)

        assert await all_gone()
        async with AsyncExitStack() as open_ones:
            readers = [
                await open_ones.enter_async_context(watching(scene.address, "ghosts", who))
                for who in people
                for _ in range(5)
            ]
            for reader in readers:
                await reader.until(lambda reader=reader: reader.told)  # type: ignore[misc]  # the loop's own
            assert len(subscriptions(signals)) == 3, "one for each project, however many watch"
            assert {len(project.waiting) for project in signals._projects.values()} == {5}
        await eventually(all_gone, what="no subscriptions after closing")

        async with watching(scene.address, "ghosts", people[0], timeoutSeconds=1) as reader:
            await reader.until(lambda: reader.ended)
        await eventually(all_gone, what="no subscriptions after their time")

        async with watching(scene.address, "ghosts", people[1]) as reader:
            await reader.until(lambda: reader.told)
            await scene.http.post("/api/v1/auth/logout", headers=people[1])
            await reader.until(lambda: reader.ended)
        await eventually(all_gone, what="no subscriptions after logging out")

        stop = asyncio.Event()

        async def write() -> None:
            await scene.catalog.create("ghosts", "g")
            number = 0
            while not stop.is_set():
                await scene.patch("g", {"count": (number := number + 1), "text": "x" * 20_000})

        writing = asyncio.create_task(write())
        for number in range(20):
            async with scene.watch(resourceVersion="0") as reader:
                await reader.until(lambda reader=reader, n=number: len(reader.told) > n % 4)  # type: ignore[misc]  # as above
        stop.set()
        await writing
        await eventually(all_gone, what="no subscriptions after breaking off")


# -- what is forgotten ---------------------------------------------------------------------------------


async def tidy(service: Service) -> None:
    """What happens once an hour."""
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)


async def test_what_is_not_kept_any_more_is_expired(installation: Installation) -> None:
    async with scene_of(installation, history_kept_days=0, deleted_kept_days=0) as scene:
        await scene.catalog.create("ghosts", "a")
        for number in range(3):
            await scene.patch("a", {"count": number})
        for number in range(2):
            patch = {"metadata": {"labels": {"n": str(number)}}}
            await scene.http.patch(f"{GHOSTS}/a", json=patch, headers=scene.me)
        await scene.catalog.create("ghosts", "b")  # the seventh
        before = await happened(installation, "developer")
        assert [version for *_, version in before] == list(range(1, 8))
        async with scene.watch(resourceVersion="7") as open_one:
            await tidy(scene.catalog.service)
            # Of what lives, the last of each generation stays; what came before that is not whole any more.
            kept = [version for *_, version in await happened(installation, "developer")]
            assert kept == [1, 2, 3, 6, 7]
            for version in range(8):
                async with scene.watch(resourceVersion=str(version), timeoutSeconds=1) as reader:
                    if version < 5:
                        assert (reader.status, reader.problem["code"]) == (410, "expired"), version
                        continue
                    assert reader.status == 200, version
                    await reader.until(lambda reader=reader: reader.ended)  # type: ignore[misc]  # the loop's own
                    assert told(reader.changes) == [what for what in before if what[2] > version]
                async with scene.watch(last_event_id=version, resourceVersion="7", timeoutSeconds=1) as again:
                    assert again.status == (410 if version < 5 else 200)
            async with scene.watch(timeoutSeconds=1) as whole:
                await whole.until(lambda: whole.ended)
                assert [each.what[:2] for each in whole.changes] == [("ADDED", "a"), ("ADDED", "b")]
            await scene.delete("ghosts/b")
            await open_one.until(lambda: open_one.changes)
            assert told(open_one.changes) == [("DELETED", "b", 8)], "who is there is not cut off"
            await tidy(scene.catalog.service)
            await scene.patch("a", {"count": 9})
            await open_one.until(lambda: len(open_one.changes) == 2)
            async with scene.watch(resourceVersion="7") as late:
                assert (late.status, late.problem["code"]) == (410, "expired")
        history = await scene.catalog.get("ghosts/a/history")
        assert [item["generation"] for item in history["items"]] == [5, 4, 3, 2, 1]
        for number in range(1, 6):
            detail = await scene.catalog.get(f"ghosts/a/history/{number}")
            assert detail["resource"]["metadata"]["generation"] == number


async def test_of_many_generations_the_last_ones_stay(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revision_rows, "KEPT_GENERATIONS", 3)
    async with catalog_of(installation, history_kept_days=0) as catalog:
        await catalog.create("ghosts", "a")
        for number in range(6):
            patch = {"spec": {"count": number}}
            await catalog.http.patch(f"{GHOSTS}/a", json=patch, headers=catalog.headers)
        await tidy(catalog.service)
        history = await catalog.get("ghosts/a/history")
        assert [item["generation"] for item in history["items"]] == [7, 6, 5]
        detail = await catalog.get("ghosts/a/history/5")
        assert (detail["resource"]["spec"]["count"], detail["against"]) == (3, None)
        assert (await catalog.get("ghosts/a/history/4", 404))["code"] == "generation_not_found"
        gone = await catalog.http.post(f"{GHOSTS}/a/history/4/rollback", headers=catalog.headers)
        assert (gone.status_code, gone.json()["code"]) == (404, "generation_not_found")
        back = await catalog.http.post(f"{GHOSTS}/a/history/5/rollback", headers=catalog.headers)
        assert (back.json()["spec"]["count"], back.json()["metadata"]["generation"]) == (3, 8)


def package(text: str) -> bytes:
    """A ZIP as skills carry it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("SKILL.md")  # with no time in it: the same text is the same package
        archive.writestr(entry, f"---\ndescription: {text}\n---\n# {text}\n")
    return buffer.getvalue()


@dataclass
class Store:
    """Keys and packages that lie about, wanted or not."""

    installation: Installation
    catalog: Catalog

    async def bundles(self) -> set[str]:
        async with self.installation.sql() as sql:
            rows = await sql.fetch("select name from catalog.secrets where name like 'resources/%'")
        return {row["name"] for row in rows}

    async def objects(self) -> set[str]:
        async with self.installation.nats() as client:
            store = await client.jetstream().object_store(PACKAGE_BUCKET)
            with suppress(NotFoundError):  # which is how it says that there are none
                return {str(info.name) for info in await store.list() if not info.deleted}
        return set()

    async def model(self, name: str, api_key: str, method: str = "POST") -> Any:
        env = {"model": "openai", "model_id": "m", "api_key": api_key}
        body = {"metadata": {"name": name}, "spec": {"modelConfig": {"env": env}}}
        path = f"{KINDS}/models" + ("" if method == "POST" else f"/{name}")
        return await self.catalog.http.request(method, path, json=body, headers=self.catalog.headers)

    async def upload(self, name: str, content: bytes) -> httpx.Response:
        headers = self.catalog.headers | {"content-type": "application/zip"}
        return await self.catalog.http.put(f"{KINDS}/skills/{name}/package", content=content, headers=headers)


async def test_what_was_deleted_long_ago_is_gone_for_good(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its keys, packages and history; what lives keeps all of that."""
    async with catalog_of(installation, history_kept_days=0, deleted_kept_days=0) as catalog:
        store = Store(installation, catalog)
        for name in ("kept", "gone"):
            for number, method in enumerate(("POST", "PUT")):
                answer = await store.model(name, f"sk-live-{name}-{number}-abcdef", method)
                assert answer.status_code in (200, 201), answer.text
            for text in ("one", "two"):
                uploaded = await store.upload(f"{name}-skill", package(f"{name} {text}"))
                assert uploaded.status_code == 200, uploaded.text
        wanted_bundles = await _bundles_of(installation, "kept")
        assert len(wanted_bundles) == 2
        assert (await store.model("kept", "sk-live-of-nobody-abcdef")).status_code == 409
        assert (await store.upload("bad-skill", b"no zip")).status_code == 422
        assert len(await store.objects()) == 4, "what was refused is not kept"
        await catalog.http.clients.packages.put("f" * 32, b"of a gateway that died right then")
        assert (len(await store.bundles()), len(await store.objects())) == (5, 5)
        for path in ("models/gone", "skills/gone-skill"):
            deleted = await catalog.http.delete(f"{KINDS}/{path}", headers=catalog.headers)
            assert deleted.status_code == 204, deleted.text
        await outbox_is_empty(installation)

        await tidy(catalog.service)
        assert await installation.count("catalog.resources") == 2
        assert await installation.count("catalog.revisions", "resource ->> 'name' like 'gone%'") == 0
        assert (len(await store.bundles()), len(await store.objects())) == (5, 5), "the grace is not over"
        for plural, name in (("models", "gone"), ("skills", "gone-skill")):
            assert (await catalog.get(plural, deleted="true"))["items"] == []
            back = await catalog.http.post(f"{KINDS}/{plural}/{name}/restore", headers=catalog.headers)
            assert (back.status_code, back.json()["code"]) == (404, "nothing_deleted")

        monkeypatch.setattr(tidying, "GRACE", timedelta(0))
        await tidy(catalog.service)
        assert await store.bundles() == wanted_bundles
        async with installation.sql() as sql:
            attached = "select status -> 'package' ->> 'object' from catalog.resources where kind = 'Skill'"
            assert await store.objects() == {await sql.fetchval(attached)}
        download = await catalog.http.get(f"{KINDS}/skills/kept-skill/package", headers=catalog.headers)
        assert download.content == package("kept two")

        history = (await catalog.get("models/kept/history"))["items"]
        assert [item["generation"] for item in history] == [2, 1]
        rolled = await catalog.http.post(f"{KINDS}/models/kept/history/1/rollback", headers=catalog.headers)
        assert rolled.status_code == 200, rolled.text
        await tidy(catalog.service)
        assert await store.bundles() == wanted_bundles
        await outbox_is_empty(installation)
        told_of = [each for each in await published(installation) if each.change == "purged"]
        assert {(each.kind, each.name) for each in told_of} == {("Model", "gone"), ("Skill", "gone-skill")}
        assert len(told_of) == 2


async def _bundles_of(installation: Installation, name: str) -> set[str]:
    """All that any generation of a model refers to."""
    async with installation.sql() as sql:
        rows = await sql.fetch(
            "select entry.value ->> 'bundle' as bundle from catalog.revisions,"
            " jsonb_each(resource -> 'secrets') as entry where resource ->> 'name' = $1",
            name,
        )
    return {row["bundle"] for row in rows}


async def waits_for_a_lock(installation: Installation) -> bool:
    async with installation.sql() as sql:
        return bool(
            await sql.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )


async def test_what_is_being_purged_is_not_restored(installation: Installation) -> None:
    """Either of the two, and never an answer that says restored of what is gone."""
    async with catalog_of(installation, deleted_kept_days=0) as catalog:
        await catalog.create("ghosts", "g")
        where = f"{GHOSTS}/g"
        assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
        async with catalog.service.database.transaction() as transaction:
            await catalog.service.tidy(transaction)
            restoring = asyncio.create_task(catalog.http.post(f"{where}/restore", headers=catalog.headers))

            async def waits_or_is_answered() -> bool:
                return restoring.done() or await waits_for_a_lock(installation)

            await eventually(waits_or_is_answered)
        answer = await restoring
        there = (await catalog.http.get(where, headers=catalog.headers)).status_code
        assert (answer.status_code, there) in ((200, 200), (404, 404)), answer.text
        await outbox_is_empty(installation)
        changes = [each.change for each in await published(installation)]
        assert changes in (["created", "deleted", "purged"], ["created", "deleted", "restored"])


async def test_tidying_is_in_nobodys_way(installation: Installation) -> None:
    """Sets of two namespaces are applied while what they leave behind is forgotten."""
    async with catalog_of(installation, history_kept_days=0, deleted_kept_days=0) as catalog:
        http, me = catalog.http, catalog.headers
        await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=me)
        items = (await http.get("/api/v1/projects", headers=me)).json()["items"]
        slugs = [item["slug"] for item in sorted(items, key=lambda item: item["id"], reverse=True)]
        tidied = 0
        stop = asyncio.Event()

        async def tidy_all_the_time() -> None:
            nonlocal tidied
            while not stop.is_set():
                await tidy(catalog.service)
                tidied += 1

        async def apply(who: int) -> None:
            for number in range(25):
                docs = [
                    {
                        "apiVersion": "signalbox.dev/v1",
                        "kind": "Ghost",
                        "metadata": {"name": f"g{who}", "namespace": slug, "labels": {"n": str(number)}},
                        "spec": GHOST,
                    }
                    for slug in slugs
                ]
                answer = await catalog.apply(yaml.safe_dump_all(docs))
                assert answer.status_code == 200, answer.text

        tidying_up = asyncio.create_task(tidy_all_the_time())
        try:
            await asyncio.gather(*(apply(who) for who in range(4)))
        finally:
            stop.set()
            await tidying_up
        async with installation.sql() as sql:
            count = "select deadlocks from pg_stat_database where datname = current_database()"
            assert await sql.fetchval(count) == 0
    print(f"100 sets were applied, tidied up {tidied} times")
