"""Selectors, how fast watches are, when they end, and what they leave."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from signalbox_common.bus import Bus
from signalbox_common.testing import eventually
from signalbox_gateway import app as gateway_app
from signalbox_gateway.live import resource_watch
from signalbox_gateway.live.resource_watch import ChangeSignals
from tests.support.factories import registered
from tests.support.forgery import Signer
from tests.support.installation import Installation
from tests.support.pace import pace, soon
from tests.support.sse import BOOKMARK, watching
from tests.support.watched import GHOST, GHOSTS, What, scene_of, told

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


# -- selectors --------------------------------------------------------------------------------------------
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


# -- how fast, how long -----------------------------------------------------------------------------------


async def test_a_change_is_told_at_once(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two gateways, idle; neither needs the look that is there in case a hint was lost."""
    monkeypatch.setattr(resource_watch, "POLL_EVERY", 60.0)
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
    monkeypatch.setattr(resource_watch, "BOOKMARK_EVERY", 0.3)
    monkeypatch.setattr(resource_watch, "POLL_EVERY", 0.1)
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


# -- nothing is left behind -------------------------------------------------------------------------------


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
