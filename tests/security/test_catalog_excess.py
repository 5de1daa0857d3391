"""What one account might take: streams, repeats, too much, packages."""

import asyncio
import gc
import io
import json
import os
import resource
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest

from signalbox_common.bus.objects import Bucket
from signalbox_common.contracts.streams import PACKAGES
from signalbox_common.limiter import AT_ONCE
from signalbox_common.testing import eventually
from tests.security.abuse import AS_ZIP, JSON
from tests.security.matrix import SKILL_PACKAGE
from tests.security.scene import ALPHA, BETA, IDS, Scene, bot, ghost, seen, two_projects
from tests.support.catalog import KINDS
from tests.support.factories import bearer
from tests.support.installation import PASSWORD, Installation
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test
MOST_ERRORS = 100
"""Of one answer: more than that nobody reads."""


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


# -- streams ----------------------------------------------------------------------------------------------


async def test_nothing_that_is_stored_ends_a_line_of_a_stream(scene: Scene) -> None:
    evil = "a\n\nevent: DELETED\ndata: {}\r\n\rid: 99\u2028x\u0085y"
    odd = ghost("odd", systemPrompt=evil, **{evil: evil})
    odd["metadata"] |= {"displayName": evil, "annotations": {evil: evil}}
    await scene.good("alice", "POST", "ghosts", odd)
    from_the_start: dict[str, Any] = {"resourceVersion": "0"}
    for query in ({}, from_the_start):
        answer = await scene.ask("reader", "GET", "ghosts", watch="true", timeoutSeconds="1", **query)
        lines = [line for line in answer.text.replace("\r", "\n").split("\n") if line]
        assert {line.partition(": ")[0] for line in lines} <= {"retry", "event", "id", "data"}
        found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert [item["type"] for item in found if "spec" in item["object"]] == ["ADDED"]


async def test_watching_what_is_not_there_is_refused(scene: Scene, subtests: pytest.Subtests) -> None:
    """With an answer, and not with a stream that says nothing."""
    tries: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("a kind", "nonsense", {}, "kind_not_found"),
        ("a kind, from a version", "nonsense", {"resourceVersion": "0"}, "kind_not_found"),
        ("a selector", "ghosts", {"labelSelector": "=="}, "validation_failed"),
        ("a version", "ghosts", {"resourceVersion": "99"}, "expired"),
        ("a version of letters", "ghosts", {"resourceVersion": "1e3"}, "bad_version"),
        ("other digits", "ghosts", {"resourceVersion": "٣"}, "expired"),
    )
    narrow = await scene.http.post(
        "/api/v1/auth/tokens", json={"name": "n", "scopes": ["auth:read"]}, headers=scene.headers("alice")
    )
    with subtests.test("without the scope"):
        answer = await scene.http.get(
            f"{KINDS}/ghosts",
            params={"namespace": ALPHA, "watch": "true", "timeoutSeconds": "1"},
            headers=bearer(narrow.json()["token"]),
        )
        assert answer.status_code == 403, answer.text
    for what, plural, query, code in tries:
        with subtests.test(what):
            answer = await scene.ask("reader", "GET", plural, watch="true", timeoutSeconds="1", **query)
            assert answer.status_code >= 400, answer.text
            assert answer.json()["code"] == code


# -- doing it again ---------------------------------------------------------------------------------------


async def test_a_key_of_one_request_is_nobody_elses(scene: Scene, subtests: pytest.Subtests) -> None:
    once = {"Idempotency-Key": "the-same", **IDS}
    first = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once)
    assert first.status_code == 201
    with subtests.test("another person"):
        other = await scene.ask("developer", "POST", "ghosts", ghost("g"), headers=once)
        assert other.json()["code"] == "already_exists"
    with subtests.test("another project"):
        other = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once, namespace="default")
        assert other.json()["code"] == "idempotency_key_reused"
        other = await scene.ask("alice", "POST", "ghosts", ghost("g", "default"), headers=once)
        assert other.json()["code"] == "idempotency_key_reused"
    with subtests.test("another document"):
        other = await scene.ask("alice", "POST", "ghosts", ghost("h"), headers=once)
        assert other.json()["code"] == "idempotency_key_reused"
    with subtests.test("the same"):
        same = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once)
        assert (same.status_code, same.json()["code"]) == (409, "already_done")
    with subtests.test("fifty at once"):
        many = await asyncio.gather(
            *(
                scene.ask("alice", "POST", "ghosts", ghost("many"), headers={"Idempotency-Key": "many"})
                for _ in range(50)
            )
        )
        codes = [answer.status_code for answer in many]
        assert (codes.count(201), codes.count(409)) == (1, 49)


async def test_a_repeat_is_known_as_one_whatever_has_happened_since(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("g"))
    patch, once = {"metadata": {"labels": {"a": "b"}}}, {"Idempotency-Key": "patched"}
    first = await scene.ask("alice", "PATCH", "ghosts/g", patch, headers=once)
    assert first.status_code == 200
    await scene.good("developer", "PATCH", "ghosts/g", {"spec": {"description": "changed since then"}})
    tag = (await scene.ask("alice", "GET", "ghosts/g")).headers["ETag"]
    tagged = {"Idempotency-Key": "tagged", "If-Match": tag}
    second = await scene.ask("alice", "PATCH", "ghosts/g", {"spec": {"x": 1}}, headers=tagged)
    assert second.status_code == 200, second.text
    for what, body, headers in (("a patch", patch, once), ("with a tag", {"spec": {"x": 1}}, tagged)):
        with subtests.test(what):
            again = await scene.ask("alice", "PATCH", "ghosts/g", body, headers=headers)
            assert (again.status_code, again.json()["code"]) == (409, "already_done")
    with subtests.test("a package"):
        path, query = f"{KINDS}/skills/s/package", {"namespace": ALPHA}
        headers = scene.headers("alice") | AS_ZIP | {"Idempotency-Key": "package"}
        answers = [
            await scene.http.put(path, content=SKILL_PACKAGE, params=query, headers=headers) for _ in range(2)
        ]
        assert answers[0].status_code == 200
        assert (answers[1].status_code, answers[1].json()["code"]) == (409, "already_done")


async def test_a_cookie_applies_only_for_our_own_pages(scene: Scene, subtests: pytest.Subtests) -> None:
    """These routes take what a form of any page can send."""
    login = await scene.http.post("/api/v1/auth/login", json={"username": "alice", "password": PASSWORD})
    cookie = {"Cookie": f"sbx_access={login.cookies['sbx_access']}"}
    scene.http.cookies.clear()
    for source in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        for media in ("text/plain", "application/x-www-form-urlencoded", "application/yaml"):
            with subtests.test("apply", source=str(source), media=media):
                answer = await scene.http.post(
                    "/api/v1/apply",
                    content=json.dumps(ghost("planted")),
                    params={"namespace": ALPHA},
                    headers=cookie | source | {"Content-Type": media},
                )
                assert answer.status_code == 403, answer.text
        with subtests.test("package", source=str(source)):
            answer = await scene.http.put(
                f"{KINDS}/skills/planted/package",
                content=SKILL_PACKAGE,
                params={"namespace": ALPHA},
                headers=cookie | source | AS_ZIP,
            )
            assert answer.status_code == 403, answer.text
    assert (await scene.good("alice", "GET", "ghosts"))["items"] == []


# -- how much somebody takes ------------------------------------------------------------------------------


async def test_very_much_that_is_wrong_is_told_in_part(scene: Scene, subtests: pytest.Subtests) -> None:
    """Each of these is one small request; its answer must not be a large one, nor be kept as one."""
    args = {"m": {"args": [1] * 80_000}}
    numbers = {str(number): number for number in range(30_000)}
    asterisks = {"m": {"args": ["***"] * 30_000}}
    names = [f"s{number}" for number in range(500)]
    tries: dict[str, Any] = {
        "no texts": lambda: scene.ask("alice", "POST", "ghosts", ghost("g", mcpServers=args)),
        "no labels": lambda: scene.ask("alice", "POST", "ghosts", _labelled("labels", numbers)),
        "no annotations": lambda: scene.ask("alice", "POST", "ghosts", _labelled("annotations", numbers)),
        "no keys": lambda: scene.ask("alice", "POST", "ghosts", ghost("g", mcpServers=asterisks)),
        "nothing there": lambda: scene.apply(
            "alice", [ghost(f"g{number}", skills=names) for number in range(80)]
        ),
        "no keys anywhere": lambda: scene.apply(
            "alice",
            [ghost(f"g{number}", mcpServers={"m": {"args": ["***"] * 900}}) for number in range(80)],
        ),
    }
    for what, attempt in tries.items():
        with subtests.test(what):
            answer = await attempt()
            assert answer.status_code == 422, answer.text[:300]
            assert 0 < len(answer.json()["errors"]) <= MOST_ERRORS
    with subtests.test("what is remembered"):
        async with scene.installation.sql() as connection:
            longest = await connection.fetchval("select max(length(reply)) from catalog.inbox")
        assert longest < 512 * 1024


def _labelled(field: str, values: dict[str, Any]) -> dict[str, Any]:
    document = ghost("g")
    document["metadata"][field] = values
    return document


async def test_a_text_that_grows_on_its_way_is_refused_clearly(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """JSON writes some characters as two, others as six; a message of the bus has an end."""
    mebibyte = 1024 * 1024
    for what, text in {
        "lines": "\n" * mebibyte,
        "quotes": '"' * mebibyte,
        "backslashes": "\\" * mebibyte,
        "control characters": "\x01" * 400_000,
        "a comment": "#" + "\\" * (mebibyte - 1),
    }.items():
        with subtests.test(what):
            answer = await scene.apply("alice", text)
            assert answer.status_code in (200, 413, 422), answer.text
    with subtests.test("numbers"):
        body = json.dumps(ghost("g", x="NUMBERS")).replace('"NUMBERS"', f"[{','.join(['1e15'] * 100_000)}]")
        answer = await scene.http.post(
            f"{KINDS}/ghosts",
            content=body,
            params={"namespace": ALPHA},
            headers=scene.headers("alice") | JSON,
        )
        assert answer.status_code in (413, 422), answer.text


async def test_a_tree_does_not_grow_beyond_its_resources(scene: Scene) -> None:
    """The same skill a hundred times, below the same bot a hundred times, are three small resources."""
    await scene.good("alice", "POST", "skills", {"metadata": {"name": "s"}, "spec": {"description": "d"}})
    await scene.good("alice", "POST", "ghosts", ghost("wide", skills=["s"] * 120))
    await scene.good("alice", "POST", "bots", bot("wide", {"name": "wide"}))
    team = {"metadata": {"name": "wide"}, "spec": {"bots": ["wide"] * 120}}
    answer = await scene.ask("alice", "POST", "teams", team)
    if answer.status_code == 201:
        answer = await scene.ask("reader", "GET", "teams/wide/resolved")
    assert answer.status_code in (200, 413, 422), answer.text[:300]


async def test_trees_take_little_memory(scene: Scene, subtests: pytest.Subtests) -> None:
    """Neither while one is put together that is too large in the end, nor for being kept."""
    long = "x" * 250_000
    for number in range(50):
        skill = {"metadata": {"name": f"s{number}"}, "spec": {"description": "d", "prompt": long}}
        await scene.good("alice", "POST", "skills", skill)
    await scene.good("alice", "POST", "ghosts", ghost("wide", skills=["s0"] * 50))
    await scene.good("alice", "POST", "bots", bot("wide", {"name": "wide"}))
    team = {"metadata": {"name": "wide"}, "spec": {"bots": ["wide"] * 50}}
    await scene.good("alice", "POST", "teams", team)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = await scene.ask("reader", "GET", "teams/wide/resolved")
    with subtests.test("of one"):
        assert answer.status_code in (200, 413, 422), answer.text[:300]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "100 MiB"
    await scene.good("alice", "POST", "ghosts", ghost("all", skills=[f"s{n}" for n in range(50)]))
    for number in range(25):
        await scene.good("alice", "POST", "bots", bot(f"b{number}", {"name": "all"}))
    gc.collect()
    held = psutil.Process().memory_info().rss
    for number in range(25):
        await scene.ask("reader", "GET", f"bots/b{number}/resolved")
    gc.collect()
    with subtests.test("of many"):
        assert psutil.Process().memory_info().rss - held < 150 * 1024 * 1024


@pytest.mark.usefixtures("patient")
async def test_a_page_costs_what_is_on_it(scene: Scene) -> None:
    """And not what would have been on it, had it been allowed to be that long."""
    lists = [[1]] * 30_000
    for number in range(20):
        await scene.good("alice", "POST", "ghosts", ghost(f"g{number:02}", x=lists))

    async def seconds(limit: int) -> float:
        before = time.perf_counter()
        page = await scene.good("reader", "GET", "ghosts", limit=limit)
        assert 2 <= len(page["items"]) < 10
        return time.perf_counter() - before

    await seconds(2)
    taken = [(await seconds(2), await seconds(500)) for _ in range(8)]  # in turns: others work beside it
    few, many = map(min, zip(*taken, strict=True))
    assert many < 4 * few + 0.2


async def test_who_waits_for_one_project_holds_up_no_other(scene: Scene) -> None:
    """Many changes of one project wait for each other; everybody else still reaches the database."""
    async with scene.installation.sql() as connection, connection.transaction():
        await connection.execute(
            "select 1 from catalog.namespaces where project_id = $1::uuid for update", scene.projects[ALPHA]
        )
        waiting = [
            asyncio.create_task(scene.ask("alice", "POST", "ghosts", ghost(f"g{number}")))
            for number in range(20)
        ]

        async def all_wait() -> bool:
            waits = "wait_event_type = 'Lock' and datname = current_database()"
            return await scene.installation.count("pg_stat_activity", waits) == AT_ONCE

        # The others wait for their turn in the process, and hold no connection.
        await eventually(all_wait, within=3, what="as many as may wait for the lock")
        others = await asyncio.gather(
            *(scene.ask("bob", "GET", "ghosts/spirit", namespace=BETA) for _ in range(5)),
            scene.ask("bob", "POST", "ghosts", ghost("new"), namespace=BETA),
        )
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in others] == [200] * 5 + [201]
    assert {answer.status_code for answer in answers} <= {201, 503, 504}


# -- packages ---------------------------------------------------------------------------------------------


async def test_a_refused_package_takes_no_room(scene: Scene, subtests: pytest.Subtests) -> None:
    """The bucket is everybody's, and it has an end."""
    narrow = await scene.http.post(
        "/api/v1/auth/tokens",
        json={"name": "n", "scopes": ["catalog:read"]},
        headers=scene.headers("alice"),
    )
    junk = b"no ZIP" * 10_000
    path, query = f"{KINDS}/skills/junk/package", {"namespace": ALPHA}
    async with scene.installation.bus("catalog") as bus:
        bucket = Bucket(bus.connection, PACKAGES)
        for what, headers, status in (
            ("no ZIP", scene.headers("alice"), 422),
            ("another scope", bearer(narrow.json()["token"]), 403),
            ("a viewer", scene.headers("reader"), 403),
            ("a stranger", scene.headers("bob"), 404),
            ("nobody", {}, 401),
        ):
            answer = await scene.http.put(path, content=junk, params=query, headers=headers | AS_ZIP)
            assert answer.status_code == status, answer.text

            async def empty() -> bool:
                return await bucket.all() == []

            with subtests.test(what):
                await promptly(empty, what="what was refused is gone")
            for left in await bucket.all():
                await bucket.delete(left.name)


async def test_a_package_that_finds_no_room_takes_none(scene: Scene, subtests: pytest.Subtests) -> None:
    """What of it was stored before the end goes away again: nothing else would ever find it."""
    mebibyte = 1024 * 1024
    path, query = f"{KINDS}/skills/large/package", {"namespace": ALPHA}
    async with scene.installation.nats() as client:
        jetstream = client.jetstream()
        config = (await jetstream.stream_info(PACKAGES.name)).config
        config.max_bytes = 8 * mebibyte
        await jetstream.update_stream(config)
        answer = await scene.http.put(
            path,
            content=os.urandom(9 * mebibyte),
            params=query,
            headers=scene.headers("alice") | AS_ZIP,
        )
        with subtests.test("the answer"):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")

        async def empty() -> bool:
            return (await jetstream.stream_info(PACKAGES.name)).state.bytes < mebibyte

        with subtests.test("the room"):
            await eventually(empty, within=3, what="the pieces are gone")


async def test_a_package_of_long_names_spoils_no_list(scene: Scene, subtests: pytest.Subtests) -> None:
    """Its table of contents is part of the skill; what cannot be answered is refused before it is kept."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", "---\ndescription: d\n---\n")
        for number in range(998):
            archive.writestr("/".join(['"' * 254] * 3) + "/" + f"{number:04}" + '"' * 250, b"")
    put = await scene.http.put(
        f"{KINDS}/skills/long/package",
        content=packed.getvalue(),
        params={"namespace": ALPHA},
        headers=scene.headers("alice") | AS_ZIP,
    )
    with subtests.test("the answer"):
        assert put.status_code in (200, 413, 422), put.text[:300]
    await scene.good("alice", "POST", "skills", {"metadata": {"name": "zz"}, "spec": {"description": "d"}})
    with subtests.test("the list"):
        answer = await scene.ask("reader", "GET", "skills")
        assert answer.status_code == 200, answer.text[:300]
    if put.status_code == 200:
        with subtests.test("a tree of two such skills"):
            await scene.good("alice", "POST", "ghosts", ghost("two", skills=["long", "zz"]))
            answer = await scene.ask("reader", "GET", "ghosts/two/resolved")
            assert answer.status_code == 200, answer.text[:300]


async def test_an_answer_about_a_package_is_for_its_project(scene: Scene) -> None:
    """Under another namespace it is not there, to the byte."""
    query = {"namespace": BETA}
    headers = scene.headers("bob") | AS_ZIP
    path = f"{KINDS}/skills/craft-of-beta/package"
    put = await scene.http.put(path, content=SKILL_PACKAGE, params=query, headers=headers)
    assert put.status_code == 200, put.text

    async def told(where: str, namespace: str) -> httpx.Response:
        return await scene.ask("developer", "GET", where, headers=IDS, namespace=namespace)

    for suffix in ("package", "package/files"):
        own = await told(f"skills/craft-of-beta/{suffix}", ALPHA)
        nobodys = await told(f"skills/craft-of-nobody/{suffix}", ALPHA)
        assert seen(own, "craft-of-beta") == seen(nobodys, "craft-of-nobody")
        theirs = await told(f"skills/craft-of-beta/{suffix}", BETA)
        missing = await told(f"skills/craft-of-beta/{suffix}", "gamma")
        assert seen(theirs, BETA) == seen(missing, "gamma")
