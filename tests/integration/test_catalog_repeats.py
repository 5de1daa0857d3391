"""Sets of documents, repeats and crashes: whole or not there, and once."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from signalbox_common.contracts.catalog import Apply
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.services import process
from tests.support.sse import outbox_is_empty
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


# -- sets of documents ------------------------------------------------------------------------------------


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


# -- repeats ----------------------------------------------------------------------------------------------


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


# -- a catalog that dies ----------------------------------------------------------------------------------
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
                if method == "POST":
                    body = {"metadata": {"name": f"g{who}-{number}"}, "spec": GHOST}
                    answer = await http.post(f"{KINDS}/ghosts", json=body, headers=me)
                else:
                    answer = await http.get(f"{KINDS}/ghosts?limit=1", headers=me)
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
