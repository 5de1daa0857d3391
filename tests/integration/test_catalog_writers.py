"""Twenty writers at once: no update is lost, nothing dangles."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest

from signalbox_common.testing import running
from tests.support.catalog import KINDS, catalog_of
from tests.support.installation import Installation
from tests.support.sse import outbox_is_empty, published
from tests.support.writers import (
    GHOST,
    MANY,
    Space,
    all_is_in_order,
    all_of,
    codes,
    dangling,
    deadlocks,
    key_of,
    revisions,
    spaces_of,
)

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


# -- one resource -----------------------------------------------------------------------------------------


async def test_who_reads_and_writes_back_loses_no_update(installation: Installation) -> None:
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        where = f"{KINDS}/ghosts/shared"
        await catalog.create("ghosts", "shared", GHOST | {"entries": []})
        late = 0

        async def writer(number: int) -> None:
            nonlocal late
            while True:
                got = await http.get(where, headers=me)
                body = got.json()
                body["spec"]["entries"].append(number)
                match = {"If-Match": got.headers["ETag"]}
                if number % 2:
                    match = {}  # the version within the body says it, too
                else:
                    del body["metadata"]["resourceVersion"]
                answer = await http.put(where, json=body, headers=me | match)
                if answer.status_code == 200:
                    assert answer.json()["spec"]["entries"] == body["spec"]["entries"]
                    return
                assert (answer.status_code, answer.json()["code"]) == (409, "version_conflict"), answer.text
                late += 1

        await asyncio.gather(*(writer(number) for number in range(MANY)))
        assert late > 0, "they were never in each other's way"
        now = await catalog.get("ghosts/shared")
        entries = now["spec"]["entries"]
        assert sorted(entries) == list(range(MANY))
        assert (now["metadata"]["generation"], now["metadata"]["resourceVersion"]) == (
            MANY + 1,
            str(MANY + 1),
        )
        history = (await catalog.get("ghosts/shared/history"))["items"]
        assert [item["generation"] for item in history] == list(range(MANY + 1, 0, -1))
        for number in range(1, MANY + 2):
            detail = await catalog.get(f"ghosts/shared/history/{number}")
            assert detail["resource"]["spec"]["entries"] == entries[: number - 1]
        await outbox_is_empty(installation)
        told = await published(installation)
        assert [each.version for each in told] == list(range(1, MANY + 2))
    print(f"{MANY} writers, {late} times too late")


async def test_patches_of_different_keys_all_land(installation: Installation) -> None:
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        where = f"{KINDS}/ghosts/shared"
        await catalog.create("ghosts", "shared")
        started = time.perf_counter()
        answers = await all_of(
            [http.patch(where, json={"spec": {"keys": {f"k{n}": n}}}, headers=me) for n in range(MANY)]
        )
        assert codes(answers) == {(200, None): MANY}
        assert sorted(a.json()["metadata"]["generation"] for a in answers) == list(range(2, MANY + 2))
        labelled = await all_of(
            [
                http.patch(where, json={"metadata": {"labels": {f"l{n}": "x"}}}, headers=me)
                for n in range(MANY)
            ]
        )
        assert codes(labelled) == {(200, None): MANY}
        took = time.perf_counter() - started
        now = await catalog.get("ghosts/shared")
        assert now["spec"]["keys"] == {f"k{n}": n for n in range(MANY)}
        assert now["metadata"]["labels"] == {f"l{n}": "x" for n in range(MANY)}
        assert (now["metadata"]["generation"], now["metadata"]["resourceVersion"]) == (MANY + 1, "41")
    print(f"2 x {MANY} patches at once in {took:.2f} s")


async def test_a_patch_that_names_an_older_version_is_too_late(installation: Installation) -> None:
    """As one with `If-Match` is; not something that trying again would help."""
    async with catalog_of(installation) as catalog:
        http, me = catalog.http, catalog.headers
        where = f"{KINDS}/ghosts/shared"
        old = (await catalog.create("ghosts", "shared"))["metadata"]["resourceVersion"]
        await http.patch(where, json={"spec": {"description": "newer"}}, headers=me)
        patch = {"metadata": {"resourceVersion": old}, "spec": {"description": "of an older one"}}
        answer = await http.patch(where, json=patch, headers=me)
        assert (answer.status_code, answer.json()["code"]) == (409, "version_conflict")
        put = {"metadata": {"resourceVersion": old}, "spec": GHOST}
        answer = await http.put(where, json=put, headers=me)
        assert (answer.status_code, answer.json()["code"]) == (409, "version_conflict")
        now = await catalog.get("ghosts/shared")
        assert (now["spec"]["description"], now["metadata"]["generation"]) == ("newer", 2)


async def test_one_of_many_creates_the_resource(installation: Installation) -> None:
    """The very first ones of their namespaces, so that those are made by many at once, too."""
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        for space in await spaces_of(http, me):
            bodies = [
                {
                    "metadata": {"name": "wanted"},
                    "spec": {"modelConfig": {"env": {"model_id": f"m{n}", "api_key": f"sk-live-{n}-abcdef"}}},
                }
                for n in range(MANY)
            ]
            answers = await all_of(
                [
                    http.post(f"{KINDS}/models", params={"namespace": space.slug}, json=body, headers=me)
                    for body in bodies
                ]
            )
            assert codes(answers) == {(201, None): 1, (409, "already_exists"): MANY - 1}
            winner = next(answer.json() for answer in answers if answer.status_code == 201)
            now = await catalog.get("models/wanted", namespace=space.slug)
            assert now == winner
            number = now["spec"]["modelConfig"]["env"]["model_id"].removeprefix("m")
            assert await key_of(installation, catalog, now["metadata"]["uid"]) == f"sk-live-{number}-abcdef"
        assert [row["change"] for row in await revisions(installation)] == ["created"] * 2


# -- what refers to what ----------------------------------------------------------------------------------
ROUNDS = 25


async def test_no_bot_outlives_its_ghost_across_namespaces_in_both_directions(
    installation: Installation,
) -> None:
    """Bots in each of two namespaces are made while the ghosts in the other one are deleted."""
    outcomes: Counter[str] = Counter()
    chance = random.Random(7)
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        spaces = await spaces_of(http, me)
        for space in spaces:
            for plural in ("ghosts", "shells"):
                await catalog.create(plural, "g", namespace=space.slug)

        async def bot(name: str, here: Space, there: Space) -> httpx.Response:
            refs = {field: {"name": "g", "namespace": there.slug} for field in ("ghostRef", "shellRef")}
            body = {"metadata": {"name": name, "namespace": here.slug}, "spec": refs}
            answer = await http.post(f"{KINDS}/bots", json=body, headers=me)
            assert answer.status_code in (201, 422), answer.text
            outcomes[f"bot {answer.status_code}"] += 1
            return answer

        async def delete(space: Space) -> httpx.Response:
            answer = await http.delete(f"{KINDS}/ghosts/g", params={"namespace": space.slug}, headers=me)
            assert answer.status_code in (204, 409), answer.text
            outcomes[f"delete {answer.status_code}"] += 1
            return answer

        for number in range(ROUNDS):
            pairs = [(here, there) for here in spaces for there in spaces]
            requests = {f"b{n}": bot(f"b{n}-{number}", *pair) for n, pair in enumerate(pairs)}
            requests |= {space.slug: delete(space) for space in spaces}
            order = chance.sample(sorted(requests), len(requests))
            answers = dict(zip(order, await all_of([requests[name] for name in order]), strict=True))
            assert await dangling(installation) == 0, f"round {number}"
            for space in spaces:
                born = [
                    answers[f"b{n}"].status_code == 201
                    for n, (here, there) in enumerate(pairs)
                    if here == there == space
                ]
                assert (answers[space.slug].status_code == 204) == (not any(born)), (number, space, born)
            await all_of(
                [
                    http.delete(f"{KINDS}/bots/b{n}-{number}", params={"namespace": here.slug}, headers=me)
                    for n, (here, _) in enumerate(pairs)
                    if answers[f"b{n}"].status_code == 201
                ]
            )
            back = [
                http.post(f"{KINDS}/ghosts/g/restore", params={"namespace": space.slug}, headers=me)
                for space in spaces
                if answers[space.slug].status_code == 204
            ]
            assert all(answer.status_code == 200 for answer in await all_of(back))
        assert await deadlocks(installation) == 0
    print(f"{ROUNDS} rounds: {dict(outcomes)}")
    assert set(outcomes) == {"bot 201", "bot 422", "delete 204", "delete 409"}, "all of it has happened"


async def test_ghosts_that_change_hands_while_they_are_deleted(installation: Installation) -> None:
    """Patches, rollbacks, cascades and restores at the same time: references stay whole."""
    seen: Counter[int] = Counter()
    chance = random.Random(11)
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        spaces = await spaces_of(http, me)
        for space in spaces:
            for name in ("one", "two"):
                await catalog.create("ghosts", name, namespace=space.slug)
            await catalog.create("shells", "s", namespace=space.slug)
            refs = {"ghostRef": {"name": "one"}, "shellRef": {"name": "s"}}
            await catalog.create("bots", "b", refs, namespace=space.slug)

        def anything() -> Coroutine[Any, Any, httpx.Response]:
            here, there = chance.choice(spaces), chance.choice(spaces)
            name = chance.choice(("one", "two"))
            query: dict[str, Any] = {"params": {"namespace": here.slug}, "headers": me}
            moved = {"spec": {"ghostRef": {"name": name, "namespace": there.slug}}}
            whole = {"spec": moved["spec"] | {"shellRef": {"name": "s"}}, "metadata": {"name": "b"}}
            cascade: dict[str, Any] = query | {"params": query["params"] | {"cascade": "true"}}
            match chance.randrange(9):
                case 0 | 1:
                    return http.patch(f"{KINDS}/bots/b", json=moved, **query)
                case 2:
                    return http.delete(f"{KINDS}/ghosts/{name}", **query)
                case 3 | 8:
                    return http.delete(f"{KINDS}/ghosts/{name}", **cascade)
                case 4:
                    return http.post(f"{KINDS}/ghosts/{name}/restore", **query)
                case 5:
                    return http.post(f"{KINDS}/bots/b/restore", **query)
                case 6:
                    return http.post(f"{KINDS}/bots/b/history/1/rollback", **query)
                case _:
                    return http.post(f"{KINDS}/bots", json=whole, **query)

        for number in range(ROUNDS):
            answers = await all_of([anything() for _ in range(10)])
            seen.update(answer.status_code for answer in answers)
            assert await dangling(installation) == 0, f"round {number}"
        assert await deadlocks(installation) == 0
        await all_is_in_order(installation)
    print(f"{ROUNDS * 10} changes: {dict(seen)}")
    assert {200, 204, 404, 409, 422} <= seen.keys()
