"""Too much of it, and who waits for that."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from signalbox_common.contracts.catalog import Apply
from signalbox_common.testing import running
from tests.support.catalog import KINDS, SPECS, Catalog, catalog_of
from tests.support.factories import document
from tests.support.flawed import BEFORE, GOOD, HEAD, JSON, MIB, laughs, many_nodes, refused, send
from tests.support.installation import Installation
from tests.support.pace import pace
from tests.support.services import process

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


# -- how much ---------------------------------------------------------------------------------------------


def _large(size: int) -> dict[str, Any]:
    """A spec of so many bytes."""
    empty = {"systemPrompt": ""}
    return {"systemPrompt": "x" * (size - len(json.dumps(empty)))}


NOTES = {"a": "x" * 65_536}
LABELLED = {f"n{number}": "" for number in range(65)}
SKILLED = {"systemPrompt": "x", "skills": [f"s{number}" for number in range(501)]}
TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "spec": (document("Ghost", "x", _large(256 * 1024 + 1)), "spec"),
    "bots": (document("Team", "x", {"bots": [f"b{number}" for number in range(501)]}), "spec"),
    "skills": (document("Ghost", "x", SKILLED), "spec"),
    "annotations": (document("Ghost", "x", SPECS["ghosts"], annotations=NOTES), "metadata.annotations"),
    "labels": (document("Ghost", "x", SPECS["ghosts"], labels=LABELLED), "metadata.labels"),
}


async def test_too_much_of_it(catalog: Catalog, subtests: pytest.Subtests) -> None:
    for what, (wrong, field) in TOO_MUCH.items():
        with subtests.test(what):
            plural = f"{wrong['kind'].lower()}s"
            alone = refused(await send(catalog, "POST", plural, wrong))
            applied = refused(await catalog.apply(GOOD + yaml.safe_dump(wrong)))
            await catalog.get("ghosts/good", 404)
            await catalog.get(f"{plural}/x", 404)
            assert [error["field"] for error in alone] == [field]
            assert [(error["document"], error["field"]) for error in applied] == [(2, field)]
            assert applied[0]["line"] > BEFORE


async def test_as_much_as_is_allowed(catalog: Catalog) -> None:
    whole = document("Ghost", "x", _large(256 * 1024), labels={f"n{n}": "" for n in range(64)})
    assert (await send(catalog, "POST", "ghosts", whole)).status_code == 201
    answer = await catalog.apply(yaml.safe_dump(whole))
    assert [item["action"] for item in answer.json()["items"]] == ["unchanged"]


async def test_a_limit_of_bytes_counts_bytes(catalog: Catalog) -> None:
    """Other writings than the Latin one have as much room."""
    chinese = document("Ghost", "zh", {"systemPrompt": "你" * 80_000})
    assert len(json.dumps(chinese, ensure_ascii=False).encode()) < 240 * 1024
    taken = await catalog.apply(yaml.safe_dump(chinese, allow_unicode=True))
    assert taken.status_code == 200, taken.text


async def test_more_keys_than_the_store_takes_at_once(catalog: Catalog) -> None:
    keys = {f"KEY_{number}": "v" * 20 for number in range(3000)}
    wrong = document("Ghost", "x", SPECS["ghosts"] | {"env": keys})
    for answer in (
        await send(catalog, "POST", "ghosts", wrong),
        await catalog.apply(GOOD + yaml.safe_dump(wrong)),
    ):
        assert answer.status_code == 422
        await catalog.get("ghosts/good", 404)
        await catalog.get("ghosts/x", 404)
    assert [error["document"] for error in answer.json().get("errors", [])] == [2], answer.text


MANY_FLAWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "items": ("POST", "skills", {"description": "x", "tags": [1] * 80_000}),
    "masks": ("POST", "shells", {"type": "x", "env": ["***"] * 30_000}),
    "masks of what is there": ("PUT", "ghosts/there", {"systemPrompt": "x", "env": ["***"] * 30_000}),
    "items of what is there": ("PATCH", "ghosts/there", {"preload_skills": [1] * 80_000}),
}


async def test_more_flaws_than_an_answer_can_hold(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("ghosts", "there")
    for what, (method, path, spec) in MANY_FLAWS.items():
        with subtests.test(what):
            errors = refused(await send(catalog, method, path, {"spec": spec, "metadata": {"name": "there"}}))
            assert 1 <= len(errors) <= 1000
    with subtests.test("labels"):
        labels = {f"n{number}": number for number in range(20_000)}
        body = document("Ghost", "x", SPECS["ghosts"], labels=labels)
        assert 1 <= len(refused(await send(catalog, "POST", "ghosts", body))) <= 1000
    assert (await catalog.get("ghosts/there"))["metadata"]["generation"] == 1


async def test_more_missing_references_than_an_answer_can_hold(catalog: Catalog) -> None:
    members = [{"botRef": {"name": f"b{n}"}} for n in range(500)]
    teams = [document("Team", f"t{n}", {"members": members, "collaborationModel": "solo"}) for n in range(60)]
    text = json.dumps(teams, separators=(",", ":"))
    assert len(text) < MIB
    errors = refused(await catalog.apply(text))
    assert errors[0]["field"] == "spec.members.0.botRef"
    assert (errors[0]["document"], errors[0]["line"]) == (1, 1)


# -- for everybody else -----------------------------------------------------------------------------------


@dataclass
class Poured:
    """How far somebody came who sends without end, and what they were told."""

    status: bytes = b""
    when_answered: int = 0
    sent: int = 0


async def pour(address: str, path: str, headers: dict[str, str], total: int) -> Poured:
    """Sends until there is an answer, and then goes on as if there was none."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    poured = Poured()
    lines = [f"POST {path} HTTP/1.1", f"host: {address}", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    chunked = "transfer-encoding" in headers
    chunk = b"# " + b"x" * 65_533 + b"\n"
    piece = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk
    answer = asyncio.create_task(reader.readline())
    try:
        while poured.sent < total:
            writer.write(piece)
            poured.sent += len(chunk)
            await asyncio.wait_for(writer.drain(), 10)
            await asyncio.sleep(0)
            if not answer.done():
                poured.when_answered = poured.sent
    except (ConnectionError, TimeoutError):
        pass  # nobody listens any more
    try:
        poured.status = await asyncio.wait_for(answer, 10)
    except ConnectionError:
        poured.status = b"reset"
    writer.close()
    return poured


@pytest.mark.parametrize("declared", [True, False], ids=["with-its-length", "in-chunks"])
@pytest.mark.parametrize("path", ["/api/v1/apply", f"{KINDS}/ghosts"], ids=["apply", "kinds"])
async def test_a_hundred_megabytes_are_not_read(
    installation: Installation, path: str, declared: bool
) -> None:
    async with (
        installation.running_auth(),
        running(installation.catalog()),
        installation.served_gateway() as (http, address),
    ):
        me = await http.sign_up()
        total = 100 * MIB
        length = {"content-length": str(total)} if declared else {"transfer-encoding": "chunked"}
        process = psutil.Process()
        before = process.memory_info().rss
        peak = [before]
        measuring = asyncio.create_task(_watch(process, peak))
        poured = await pour(address, path, me | JSON | length, total)
        measuring.cancel()
        print(
            f"{path}: told after {poured.when_answered // 1024} KiB, sent {poured.sent // 1024} KiB, ", end=""
        )
        print(f"{(peak[0] - before) // 1024} KiB more memory")
        assert b" 413 " in poured.status, poured.status
        assert poured.when_answered < 8 * MIB
        assert peak[0] - before < 32 * MIB
        assert (await http.get("/api/v1/auth/me", headers=me)).status_code == 200


async def _watch(process: psutil.Process, peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        await asyncio.sleep(0.005)


def _many_documents() -> str:
    keys = ",".join(f"k{number:x}: {{a: [1, 2.5, text]}}" for number in range(3000))
    return "---\n".join(HEAD.replace("bad", f"n{n}") + f"  a: {{{keys}}}\n" for n in range(9))


def _many_references() -> str:
    """Wide specs, each with as many references as it may have to a namespace that has to be written out."""
    head = HEAD.replace("Ghost", "Team").replace("  systemPrompt: x\n", "  collaborationModel: solo\n")
    members = f"  members: [&m {{botRef: {{name: b, namespace: default}}}}{', *m' * 499}]\n"
    wide = "".join(f"  k{number:x}: 1\n" for number in range(18_500))
    return "---\n".join(head.replace("bad", f"t{number}") + members + wide for number in range(4))


def _many_keys() -> str:
    keys = ",".join(f"K{number:x}_KEY: v" for number in range(60))
    return "---\n".join(HEAD.replace("bad", f"k{n}") + f"  env: {{{keys}}}\n" for n in range(900))


WORST: dict[str, Callable[[], str]] = {
    "nodes": many_nodes,
    "documents": _many_documents,
    "references": _many_references,
    "keys": _many_keys,
    "laughs": lambda: GOOD + HEAD + laughs(),
}


TRIES = 3
"""A shared machine stands still now and then; what is in others' way is so each time."""


@pytest.mark.timeout(300)
@pytest.mark.fresh
async def test_others_are_answered_meanwhile(
    installation: Installation, tmp_path: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the catalog in a process of its own, as it always is: its worst moment is all that counts."""
    monkeypatch.setattr(Apply, "patience", 120.0)  # how long it takes by itself is not what this is about
    log = tmp_path / "catalog.log"
    own = process(installation, "catalog", log)
    await own.start()
    try:
        async with installation.running_auth(), installation.gateway() as http:
            catalog = Catalog(http, installation.catalog(), await http.sign_up("developer"))
            await catalog.create("ghosts", "probe")
            for name, text_of in WORST.items():
                with subtests.test(name):
                    tries = [await _measured(catalog, name, text_of())]
                    while not tries[-1] and len(tries) < TRIES:
                        tries.append(await _measured(catalog, name, text_of()))
                    assert tries[-1], "each time somebody waited for it"
    finally:
        await own.stop()
    assert "Traceback" not in log.read_text()


async def _measured(catalog: Catalog, name: str, text: str) -> bool:
    """Whether nobody waits for a quarter of it; were it read in their way, they would wait for most of it."""
    assert len(text) <= MIB
    control = await pace(lambda: catalog.get("ghosts/probe"))
    took: list[float] = []
    applying = asyncio.create_task(catalog.apply(text))
    started = time.perf_counter()
    while not applying.done():
        asked = time.perf_counter()
        assert (await catalog.get("ghosts/probe"))["metadata"]["name"] == "probe"
        took.append(time.perf_counter() - asked)
    answer = await applying
    seconds = time.perf_counter() - started
    print(f"{name}: {len(text) // 1024} KiB, {seconds:.2f} s, {answer.status_code}, ", end="")
    print(f"{len(took)} others, the slowest in {max(took):.3f} s, without it {control:.3f} s")
    assert answer.status_code in (200, 422), answer.text[:500]
    return max(took) < seconds / 4 + 4 * control
