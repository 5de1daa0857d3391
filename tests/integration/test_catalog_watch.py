"""Who watches is told each change once, in order, through all that can end."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
import yaml

from signalbox_common.contracts.catalog import Apply
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, YAML, Catalog
from tests.support.installation import Http, Installation
from tests.support.sse import BOOKMARK, Follower, Reader, Told
from tests.support.watched import GHOST, GHOSTS, happened, scene_of, told

pytestmark = pytest.mark.fresh  # whole streams and tables are counted
T = TypeVar("T")


class Ended(Generic[T]):
    """Something that a test stops and starts anew."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._stack = AsyncExitStack()

    async def start(self) -> T:
        return await self._stack.enter_async_context(self._make())

    async def stop(self) -> None:
        await self._stack.aclose()


# -- a thousand changes -----------------------------------------------------------------------------------
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


# -- list, then watch -------------------------------------------------------------------------------------


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
