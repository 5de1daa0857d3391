"""Many who write at the same time, and catalogs that die while they do: nothing is lost, nothing is half."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.vault import Vault
from signalbox_common.contracts.catalog import Apply
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, SPECS, Catalog, catalog_of
from tests.support.installation import Http, Installation
from tests.support.services import process
from tests.support.sse import outbox_is_empty, published

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

GHOST = SPECS["ghosts"]
MANY = 20


@dataclass(frozen=True)
class Space:
    """A namespace, and the project that it is."""

    slug: str
    project: str


async def spaces_of(http: Http, headers: dict[str, str]) -> tuple[Space, Space]:
    """The own one and one more; the one that locks come first in is the first."""
    made = await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=headers)
    assert made.status_code == 201, made.text
    items = (await http.get("/api/v1/projects", headers=headers)).json()["items"]
    first, second = sorted((Space(item["slug"], item["id"]) for item in items), key=lambda s: s.project)
    return first, second


async def revisions(installation: Installation) -> list[Any]:
    """Every change of every project, in order."""
    async with installation.sql() as sql:
        rows = await sql.fetch("select * from catalog.revisions order by project_id, version")
    return [dict(row) | {"resource": json.loads(row["resource"])} for row in rows]


async def dangling(installation: Installation) -> int:
    """References of which one end is not a living resource, and bots that refer to nothing."""
    async with installation.sql() as sql:
        ends = await sql.fetchval(
            "select count(*) from catalog.refs join catalog.resources on uid in (from_uid, to_uid)"
            " where deleted_at is not null"
        )
        bots = await sql.fetchval(
            "select count(*) from catalog.resources where kind = 'Bot' and deleted_at is null"
            " and (select count(*) from catalog.refs where from_uid = uid) <> 2"
        )
    return int(ends) + int(bots)


async def deadlocks(installation: Installation) -> int:
    async with installation.sql() as sql:
        return int(
            await sql.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
        )


async def all_of(requests: Sequence[Coroutine[Any, Any, httpx.Response]]) -> list[httpx.Response]:
    """Their answers; none may say that something went wrong on our side."""
    answers = await asyncio.gather(*requests)
    broken = [answer.text for answer in answers if answer.status_code >= 500]
    assert broken == []
    return answers


def codes(answers: Sequence[httpx.Response]) -> Counter[tuple[int, str | None]]:
    return Counter((a.status_code, a.json().get("code") if a.content else None) for a in answers)


# -- one resource --------------------------------------------------------------------------------------


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


async def key_of(installation: Installation, catalog: Catalog, uid: str) -> Any:
    """The API key of a model, from the secret store."""
    its: Any = catalog.service.settings
    secret_key = its.secret_key.get_secret_value()
    store = LocalSecrets(catalog.service.database, KeyFile(its.secrets_dir / "catalog.keys", secret_key))
    async with installation.sql() as sql:
        stored = json.loads(
            await sql.fetchval("select secrets from catalog.resources where uid = $1", UUID(uid))
        )
    secrets = {at: StoredSecret(entry["bundle"], entry["mark"]) for at, entry in stored.items()}
    return (await Vault(store, secret_key).reveal(secrets))["/modelConfig/env/api_key"]


# -- what refers to what -------------------------------------------------------------------------------

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
                    for n, (_, there) in enumerate(pairs)
                    if there == space
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


async def all_is_in_order(installation: Installation) -> None:
    """Each project's changes are numbered without a gap, and told once, in that order."""
    await outbox_is_empty(installation)
    async with installation.sql() as sql:
        heads = {
            str(row["project_id"]): row["version"]
            for row in await sql.fetch("select * from catalog.namespaces")
        }
    rows = await revisions(installation)
    for project, head in heads.items():
        ours = [row for row in rows if str(row["project_id"]) == project]
        assert [row["version"] for row in ours] == list(range(1, head + 1))
        told = await published(installation, project)
        assert [(each.version, each.change) for each in told] == [(r["version"], r["change"]) for r in ours]
        assert len({each.id for each in told}) == head


# -- sets of documents ---------------------------------------------------------------------------------


def document(kind: str, name: str, space: Space, spec: dict[str, Any], label: str) -> dict[str, Any]:
    return {
        "apiVersion": "signalbox.dev/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": space.slug, "labels": {"set": label}},
        "spec": spec,
    }


def set_of(number: int, names: Sequence[str], spaces: Sequence[Space], *, bad: bool = False) -> list[Any]:
    """Ghosts in all namespaces and a bot of each, all of which say which set they are of."""
    said = f"set-{number}"
    docs = []
    for space in spaces:
        docs.append(document("Shell", "shell", space, {"shellType": "Chat"}, "same"))
        for name in names:
            ghost = {"systemPrompt": said}
            refs = {"ghostRef": {"name": name}, "shellRef": {"name": "shell"}, "description": said}
            docs += [document("Ghost", name, space, ghost, said), document("Bot", name, space, refs, said)]
    if bad:
        nothing = {"ghostRef": {"name": "nobody"}, "shellRef": {"name": "shell"}}
        docs.append(document("Bot", "of-nobody", spaces[0], nothing, said))
    return docs


async def test_overlapping_sets_of_many_appliers_are_whole_or_not_there(installation: Installation) -> None:
    """Two catalogs, two namespaces in either order, six names of which each set has four."""
    chance = random.Random(3)
    names = [f"n{n}" for n in range(6)]
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        spaces = await spaces_of(http, me)
        sets: dict[int, list[Any]] = {}
        for number in range(12):
            some, order = chance.sample(names, 4), chance.sample(spaces, 2)
            sets[number] = set_of(number, some, order, bad=number % 4 == 3)
        started = time.perf_counter()
        answers = dict(
            zip(
                sets,
                await all_of([catalog.apply(yaml.safe_dump_all(docs)) for docs in sets.values()]),
                strict=True,
            )
        )
        took = time.perf_counter() - started
        good = {number for number, answer in answers.items() if answer.status_code == 200}
        assert good == {number for number in sets if number % 4 != 3}
        assert {answers[n].status_code for n in sets.keys() - good} == {422}
        rows = await revisions(installation)
        for number, docs in sets.items():
            check_whole(rows, number, docs if number in good else [], answers[number])
        async with installation.sql() as sql:
            found = await sql.fetch("select * from catalog.resources where kind <> 'Shell'")
        for row in found:
            # Whoever was last has it, and all of it is theirs.
            ours = [r for r in rows if r["uid"] == row["uid"]]
            last = ours[-1]["resource"]
            assert (json.loads(row["spec"]), json.loads(row["labels"])) == (last["spec"], last["labels"])
            said = last["spec"].get("systemPrompt") or last["spec"]["description"]
            assert last["labels"] == {"set": said}
            assert int(said.removeprefix("set-")) in good
        assert await dangling(installation) == 0
        assert await deadlocks(installation) == 0
        await all_is_in_order(installation)
    print(f"{len(sets)} sets of {len(sets[0])} documents at once in {took:.2f} s, {len(good)} of them good")


def check_whole(rows: Sequence[Any], number: int, docs: Sequence[Any], answer: httpx.Response) -> None:
    """Everything of the set was written at once, or nothing at all."""
    label = {"set": f"set-{number}"}
    written = [row for row in rows if row["resource"]["labels"] == label]
    wanted = [doc for doc in docs if doc["metadata"]["labels"] == label]
    assert Counter((row["kind"], row["resource"]["name"]) for row in written) == Counter(
        (doc["kind"], doc["metadata"]["name"]) for doc in wanted
    )
    if not docs:
        return
    for project in {row["project_id"] for row in written}:
        versions = [row["version"] for row in written if row["project_id"] == project]
        assert versions == list(range(versions[0], versions[0] + len(versions))), "nobody came in between"
    told = {int(item["resourceVersion"]) for item in answer.json()["items"] if item["kind"] != "Shell"}
    assert told == {row["version"] for row in written}


# -- repeats -------------------------------------------------------------------------------------------


async def test_a_repeated_request_takes_effect_once(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        http, me = catalog.http, catalog.headers
        key = {"Idempotency-Key": "the one"}

        def model(api_key: str, model_id: str = "m") -> dict[str, Any]:
            env = {"model": "openai", "model_id": model_id, "api_key": api_key}
            return {"metadata": {"name": "gpt"}, "spec": {"modelConfig": {"env": env}}}

        where = f"{KINDS}/models"
        text = json.dumps(
            {"apiVersion": "signalbox.dev/v1", "kind": "Model"} | model("sk-live-3-abcdef", "n")
        )
        versions = []
        for method, path in (("POST", where), ("PUT", f"{where}/gpt"), ("PATCH", f"{where}/gpt")):

            async def send(body: Any, method: str = method, path: str = path) -> httpx.Response:
                return await http.request(method, path, json=body, headers=me | key)

            first = await send(model("sk-live-1-abcdef", method))
            assert first.status_code in (200, 201), first.text
            versions.append(first.json()["metadata"]["resourceVersion"])
            for repeat in (model("sk-live-1-abcdef", method), model("sk-live-2-other-key", method)):
                again = await send(repeat)
                assert (again.status_code, again.json()["code"]) == (409, "already_done"), method
                assert again.json()["resource"] == "Model/gpt"
            other = await send(model("sk-live-1-abcdef", "another"))
            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused"), method
            now = await catalog.get("models/gpt")
            assert now["metadata"]["resourceVersion"] == versions[-1]
            assert await key_of(installation, catalog, now["metadata"]["uid"]) == "sk-live-1-abcdef"
        assert versions == ["1", "2", "3"]
        # What others have changed in the meantime does not make it another request.
        plain = {"metadata": {"labels": {"by": "others"}}}
        assert (await http.patch(f"{where}/gpt", json=plain, headers=me)).status_code == 200
        late = await http.patch(f"{where}/gpt", json=model("sk-live-1-abcdef", "PATCH"), headers=me | key)
        assert (late.status_code, late.json()["code"]) == (409, "already_done")

        for status, code in ((200, None), (409, "already_done")):
            answer = await catalog.apply(text, me | key)
            assert (answer.status_code, answer.json().get("code")) == (status, code)
        other_key = await catalog.apply(text.replace("sk-live-3", "sk-live-4"), me | key)
        assert (other_key.status_code, other_key.json()["code"]) == (409, "already_done")
        other_body = await catalog.apply(text.replace('"n"', '"o"'), me | key)
        assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
        now = await catalog.get("models/gpt")
        assert now["metadata"]["generation"] == 4
        assert await key_of(installation, catalog, now["metadata"]["uid"]) == "sk-live-3-abcdef"


async def test_one_key_many_times_at_once(installation: Installation) -> None:
    async with catalog_of(installation) as catalog, running(installation.catalog()):
        http, me = catalog.http, catalog.headers
        key = {"Idempotency-Key": "the one"}
        body = {"metadata": {"name": "once"}, "spec": GHOST}
        answers = await all_of(
            [http.post(f"{KINDS}/ghosts", json=body, headers=me | key) for _ in range(MANY)]
        )
        assert codes(answers) == {(201, None): 1, (409, "already_done"): MANY - 1}
        gone = await all_of([http.delete(f"{KINDS}/ghosts/once", headers=me | key) for _ in range(MANY)])
        assert codes(gone) == {(204, None): MANY}, "a command is answered what it was answered first"
        assert [row["change"] for row in await revisions(installation)] == ["created", "deleted"]


async def test_deleting_outlives_a_catalog_that_is_away(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway(command_patience=0.3) as http:
        me = await http.sign_up("developer")
        async with running(installation.catalog()) as service:
            catalog = Catalog(http, service, me)
            await catalog.bot("bot", ghost="held")
            await catalog.create("ghosts", "free")
        started = time.perf_counter()
        gone = await http.delete(f"{KINDS}/ghosts/free", headers=me)
        refused = await http.delete(f"{KINDS}/ghosts/held", headers=me)
        back = await http.post(f"{KINDS}/ghosts/free/restore", headers=me)
        assert [answer.status_code for answer in (gone, refused, back)] == [202, 202, 202]
        assert time.perf_counter() - started < 5, "less than one would take with the usual patience"
        operations = []
        for answer in (gone, refused, back):
            operation = answer.headers["X-Operation-ID"]
            assert answer.headers["Location"] == f"/api/v1/operations/{operation}"
            assert answer.json()["status"] == "pending"
            operations.append(operation)

        async def outcome(operation: str) -> dict[str, Any]:
            body: dict[str, Any] = (await http.get(f"/api/v1/operations/{operation}", headers=me)).json()
            return body if body["status"] != "pending" else {}

        assert await outcome(operations[0]) == {}
        async with running(installation.catalog()):
            ended = [await eventually(lambda op=op: outcome(op)) for op in operations]  # type: ignore[misc]  # the loop's own
            assert [body["status"] for body in ended][:2] == ["succeeded", "failed"]
            assert (ended[0]["command"], ended[1]["error"]["code"]) == ("catalog.delete", "still_referenced")
            rows = [row for row in await revisions(installation) if row["resource"]["name"] == "free"]
            # A restore is another command: it may come before what it was meant to undo.
            changes = [row["change"] for row in rows]
            assert changes in (["created", "deleted"], ["created", "deleted", "restored"])
            assert changes.count("restored") == (ended[2]["status"] == "succeeded")
            there = await http.get(f"{KINDS}/ghosts/free", headers=me)
            assert (there.status_code == 200) == (changes[-1] == "restored")
            assert (await http.get(f"{KINDS}/ghosts/held", headers=me)).status_code == 200


# -- a catalog that dies -------------------------------------------------------------------------------

KILLS = 3
APPLIES = 14


async def test_sigkill_between_applies_leaves_none_half_done(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is repeated under its key until it was done: in the end it was, once."""
    monkeypatch.setattr(Apply, "patience", 1.5)
    service = process(installation, "catalog", tmp_path / "catalog.log")
    statuses: Counter[int] = Counter()
    done = 0
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up("developer")
        spaces = await spaces_of(http, me)
        await service.start()

        async def applier(who: int) -> None:
            nonlocal done
            for number in range(APPLIES):
                docs = set_of(who * 100 + number, [f"a{who}", f"b{who}"], spaces)
                text = yaml.safe_dump_all(docs)
                key = {"Idempotency-Key": f"{who}-{number}", "content-type": "application/yaml"}
                while True:
                    answer = await http.post("/api/v1/apply", content=text, headers=me | key)
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200 or answer.json()["code"] == "already_done":
                        break
                    assert answer.status_code in (503, 504), answer.text
                    await asyncio.sleep(0.05)
                done += 1

        async def killer() -> None:
            for number in range(KILLS):
                target = (number + 1) * 4 * APPLIES // (KILLS + 1)

                async def far_enough(target: int = target) -> bool:
                    return done >= target

                await eventually(far_enough, within=40)
                service.kill()
                await service.start()

        try:
            started = time.perf_counter()
            await asyncio.gather(*(applier(who) for who in range(4)), killer())
            took = time.perf_counter() - started
            await outbox_is_empty(installation)
        finally:
            await service.stop()
    rows = await revisions(installation)
    for who in range(4):
        for number in range(APPLIES):
            label = {"set": f"set-{who * 100 + number}"}
            ours = [row for row in rows if row["resource"]["labels"] == label]
            assert len(ours) == 8, f"{label}: two ghosts and two bots in each of two namespaces, once"
    await all_is_in_order(installation)
    assert await installation.messages("DEAD_LETTERS") == []
    print(f"{KILLS} kills, {4 * APPLIES} applies in {took:.1f} s: {dict(statuses)}")
    assert statuses[503] + statuses[504] > 0, "nobody has noticed that it died"


STOPS, CLIENTS = 3, 16
DROPPED = 4.5
"""Seconds after which nobody has answered: who asks waits for five."""


async def test_a_catalog_that_stops_answers_what_it_has_taken(installation: Installation) -> None:
    """Everybody hears that it was done, or that nothing was; nobody waits for what was dropped."""
    dropped: list[str] = []
    made = served = 0
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up("developer")

        async def client(who: str, method: str) -> httpx.Response:
            """One request after the other, until one is not answered as it should be."""
            nonlocal made, served
            number = 0
            while True:
                began = time.perf_counter()
                body = {"metadata": {"name": f"g{who}-{number}"}, "spec": GHOST} if method == "POST" else None
                answer = await http.request(method, f"{KINDS}/ghosts?limit=1", json=body, headers=me)
                if time.perf_counter() - began > DROPPED and answer.status_code >= 300:
                    dropped.append(f"{method}: {answer.status_code} {answer.json()['code']}")
                if answer.status_code >= 300:
                    return answer
                made += method == "POST"
                served += 1
                number += 1

        for stop in range(STOPS):
            async with running(installation.catalog()):
                clients = [
                    asyncio.create_task(client(f"{stop}-{n}", method))
                    for n in range(CLIENTS)
                    for method in ("POST", "GET")
                ]
                target = served + 4 * CLIENTS

                async def busy(target: int = target) -> bool:
                    return served >= target

                await eventually(busy, within=30)
            assert {answer.status_code for answer in await asyncio.gather(*clients)} <= {503, 504}
    written = len(await revisions(installation))
    print(
        f"{written} written, {made} of them answered; of {2 * CLIENTS * STOPS} last ones dropped: {dropped}"
    )
    assert written == made, "what was not answered was not done"
    assert dropped == []
