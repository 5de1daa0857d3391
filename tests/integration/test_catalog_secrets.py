"""Keys of resources show nowhere in clear, and the store keeps them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from signalbox_common.contracts.rotation import RotateSecrets
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, YAML, Catalog, catalog_of
from tests.support.factories import OURS, document, text_of
from tests.support.installation import Installation
from tests.support.sealed import API_KEY, applied, ghost_with_keys, keys_of, model

PLURALS = ("ghosts", "models", "shells", "bots", "teams", "skills")


def forms_of(key: str) -> Iterator[bytes]:
    """How a key may stand somewhere without being hidden."""
    raw = key.encode()
    yield raw
    yield raw[::-1]
    yield raw.hex().encode()
    for shift, skipped in enumerate((0, 2, 3)):
        yield base64.b64encode(bytes(shift) + raw)[skipped:-4]


def shown(keys: list[str], where: dict[str, list[bytes]]) -> list[tuple[str, str]]:
    """Which key shows where."""
    return [
        (key, place)
        for place, texts in where.items()
        for key in keys
        if any(form in text for text in texts for form in forms_of(key))
    ]


async def tables(installation: Installation) -> dict[str, list[bytes]]:
    """Every value of every table of the installation."""
    found: dict[str, list[bytes]] = {}
    async with installation.sql() as connection:
        names = await connection.fetch(
            "select table_schema, table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        )
        for schema, table in names:
            rows = await connection.fetch(f'select * from "{schema}"."{table}"')
            found[f"{schema}.{table}"] = [
                value if isinstance(value, bytes) else str(value).encode()
                for row in rows
                for value in row.values()
            ]
    return found


async def streams(installation: Installation) -> dict[str, list[bytes]]:
    """Every message of every stream, with its subject and its headers."""
    async with installation.nats() as client:
        names = [str(info.config.name) for info in await client.jetstream().streams_info()]
    return {
        name: [
            part
            for message in await installation.messages(name)
            for part in (message.data or b"", str(message.headers).encode(), str(message.subject).encode())
        ]
        for name in names
    }


@dataclass
class Listener:
    """Asks, and remembers every word of what is answered."""

    catalog: Catalog
    heard: list[bytes] = field(default_factory=list)

    async def ask(self, method: str, path: str, status: int, body: Any = None, **more: Any) -> Any:
        content = json.dumps(body).encode() if body is not None else more.pop("content", None)
        headers = self.catalog.headers | {"content-type": "application/json"} | more.pop("headers", {})
        answer = await self.catalog.http.request(
            method, f"/api/v1/{path}", content=content, headers=headers, **more
        )
        self.heard += [answer.content, str(answer.headers.raw).encode()]
        assert answer.status_code == status, (method, path, answer.text)
        is_json = "json" in answer.headers.get("content-type", "") and answer.content
        return answer.json() if is_json else answer.text

    async def apply(self, text: str, status: int = 200, **query: Any) -> Any:
        return await self.ask("POST", "apply", status, content=text.encode(), headers=YAML, params=query)


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


@asynccontextmanager
async def talkative(installation: Installation) -> AsyncIterator[Listener]:
    """Everything logs all that it can."""
    service = installation.catalog(log_level="debug")
    async with (
        running(installation.auth(log_level="debug")),
        running(service),
        installation.gateway(log_level="debug") as http,
    ):
        yield Listener(Catalog(http, service, await http.sign_up("developer")))


# -- nowhere in clear -------------------------------------------------------------------------------------


def _ghost_keys(number: str) -> list[str]:
    return [
        f"argKey{number}aaaa",
        f"flagKey{number}bb",
        f"envKey{number}cccc",
        f"ghp_looksLikeOne{number}",
        f"headerKey{number}d",
        f"pairKey{number}eeee",
        f"nestedKey{number}f",
        f"dsnKey{number}g",
    ]


WEGENT = """\
apiVersion: agent.wecode.io/v1
kind: Ghost
metadata: {name: theirs, namespace: default}
spec:
  systemPrompt: x
  mcpServers: {gh: {command: docker, args: [], env: {GITHUB_TOKEN: wegentKey0001}}}
---
apiVersion: agent.wecode.io/v1
kind: Model
metadata: {name: theirs, namespace: default}
spec:
  modelConfig: {env: {model: openai, base_url: "https://u:wegentKey0002@x", api_key: wegentKey0003}}
---
apiVersion: v1
kind: Secret
metadata: {name: skipped}
stringData: {password: skippedKey0004}
"""
WEGENT_KEYS = [f"wegentKey000{number}" for number in (1, 2, 3)]


@pytest.mark.fresh
async def test_keys_show_nowhere(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """However they came in: in no answer, stream, table or log."""
    sent = [*WEGENT_KEYS, "skippedKey0004"]
    async with talkative(installation) as listener:
        ask = listener.ask

        def body(name: str, spec: Any, **metadata: Any) -> dict[str, Any]:
            return {"metadata": {"name": name} | metadata, "spec": spec}

        made = await ask("POST", "kinds/ghosts", 201, body("g", ghost_with_keys("01")))
        assert "***" in json.dumps(made)
        await ask("POST", "kinds/models", 201, body("m", model("postKey02aaaa")))
        await ask("POST", "kinds/models", 201, body("short", {"provider": "x", "apiKey": "shortKey03aaa"}))
        await ask("POST", "kinds/shells", 201, body("s", {"type": "x", "env": {"A_TOKEN": "shellKey04aaa"}}))
        skill = {"description": "x", "mcpServers": {"a": {"env": {"A_SECRET": "skillKey05aaa"}}}}
        await ask("POST", "kinds/skills", 201, body("k", skill))
        refs = {"ghostRef": "g", "shellRef": "s", "modelRef": "m", "secretKey": "botKey06aaaaa"}
        await ask("POST", "kinds/bots", 201, body("b", refs))
        await ask("POST", "kinds/teams", 201, body("t", {"bots": ["b"], "env": {"X_KEY": "teamKey07aaaa"}}))
        await ask("PUT", "kinds/ghosts/g", 200, {"spec": ghost_with_keys("08")})
        patch = {"spec": {"modelConfig": {"env": {"api_key": "patchKey09aaa"}}}}
        await ask("PATCH", "kinds/models/m", 200, patch)
        text = text_of(
            document("Ghost", "g", ghost_with_keys("10")),
            document("Ghost", "new", ghost_with_keys("11")),
            document("Model", "m", model("applyKey12aaa", numeric_token=7654321098765)),
        )
        await listener.apply(text, dryRun=True)
        await listener.apply(text)
        await listener.apply(WEGENT)
        await listener.apply(text.replace("applyKey12aaa", "triedKey13aaa"), dryRun=True)
        await listener.apply(text.replace("applyKey12aaa", "!!int refusedKey"), 422)
        await ask("POST", "kinds/models", 409, body("m", model("existsKey14aa")))
        wrong = {"modelConfig": {"env": {"api_key": "wrongKey15aaa"}, "temperature": "hot"}}
        await ask("POST", "kinds/models", 422, body("w", wrong))
        await ask("PUT", "kinds/models/nobody", 404, {"spec": model("lostKey16aaaa")})
        for plural in PLURALS:
            listed = await ask("GET", f"kinds/{plural}", 200)
            for item in listed["items"]:
                path = f"kinds/{plural}/{item['metadata']['name']}"
                await ask("GET", path, 200)
                await ask("GET", f"{path}/resolved", 200)
                for generation in (await ask("GET", f"{path}/history", 200))["items"]:
                    await ask("GET", f"{path}/history/{generation['generation']}", 200)
            watch = {"watch": True, "resourceVersion": "0", "timeoutSeconds": 1}
            told = await ask("GET", f"kinds/{plural}", 200, params=watch)
            assert "***" in told, "the watch has told of what was sent"
        await ask("POST", "kinds/ghosts/g/history/1/rollback", 200)
        await ask("DELETE", "kinds/teams/t", 204)
        await ask("DELETE", "kinds/bots/b", 204)
        await ask("DELETE", "kinds/models/m", 204)
        assert len((await ask("GET", "kinds/models?deleted=true", 200))["items"]) == 1
        await ask("POST", "kinds/models/m/restore", 200)
        await ask("GET", "audit", 403)

        async def all_told() -> bool:
            return await installation.count("catalog.outbox") == 0

        await eventually(all_told)
        for number in ("01", "08", "10", "11"):
            sent += _ghost_keys(number)
        for name, number in (
            ("post", "02"),
            ("short", "03"),
            ("shell", "04"),
            ("skill", "05"),
            ("bot", "06"),
        ):
            sent.append(f"{name}Key{number}")
        sent += ["teamKey07", "patchKey09", "applyKey12", "7654321098765", "triedKey13", "existsKey14"]
        sent += ["wrongKey15", "lostKey16"]
        stored, streamed = await tables(installation), await streams(installation)
        assert shown(["marker-of-a-prompt"], stored), "the search would have found them"
        assert shown(["resourceVersion"], streamed), "here, too"
        assert len(sent) == len(set(sent)) == 49
        logged = {"logs": [capsys.readouterr().out.encode()]}
        assert shown(sent, {"answers": listener.heard} | logged | stored | streamed) == []


REFUSED: dict[str, str] = {
    "wrong neighbour": "{env: {api_key: KEY}, temperature: hot}",
    "key of another kind": "{env: {api_key: [[KEY]]}, maxTokens: x}",
    "key where a number is meant": "{temperature: KEY}",
    "open quote": '{env: {api_key: "KEY}}',
    "open bracket": "{env: {api_key: KEY}",
    "colon": "{env: {api_key: KEY: KEY}}",
    "duplicate": "{env: {api_key: KEY, api_key: KEY}}",
    "reserved character": "{env: {api_key: @KEY}}",
    "percent": "{env: {api_key: %KEY}}",
    "escape": '{env: {api_key: "KEY\\q"}}',
    "NUL": '{env: {api_key: "KEY\\0"}}',
    "mask elsewhere": '{env: {api_key: KEY, token: "***"}}',
    "tag that does not fit": "{env: {api_key: !!int KEY}}",
    "begins like a tag": "{env: {password: !KEY x}}",
    "begins like an alias": "{env: {password: *KEY}}",
}


@pytest.mark.fresh
async def test_refusals_do_not_repeat_keys(
    installation: Installation, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    key, digits = "sk-EchoNever0001", "12345678901234567890123"
    async with talkative(installation) as listener:
        for name, written in REFUSED.items():
            with subtests.test(name):
                text = f"apiVersion: {OURS}\nkind: Model\nmetadata: {{name: x}}\nspec:\n  modelConfig: "
                problem = await listener.apply(f"{text}{written.replace('KEY', key)}\n", 422)
                assert key not in json.dumps(problem)
        with subtests.test("digits beyond 64 bits"):
            written = f"{{env: {{api_key: {digits}}}}}"
            problem = await listener.apply(f"{text}{written}\n", 422)
            assert digits not in json.dumps(problem)
        for wrong in (
            {"env": {"api_key": key}, "temperature": "hot"},
            {"env": key},
            {"env": {"api_key": key, "token": "***"}},
            {"temperature": key},
        ):
            with subtests.test("alone", sent=str(wrong)):
                spec = {"metadata": {"name": "x"}, "spec": {"modelConfig": wrong}}
                problem = await listener.ask("POST", "kinds/models", 422, spec)
                assert key not in json.dumps(problem)
        broken = f'{{"spec": {{"modelConfig": {{"env": {{"api_key": "{key}'.encode()
        assert key not in json.dumps(await listener.ask("POST", "kinds/models", 400, content=broken))
        stored, streamed = await tables(installation), await streams(installation)
        logged = {"logs": [capsys.readouterr().out.encode()]}
        assert shown([key, digits], logged | stored | streamed) == []


@pytest.mark.fresh
async def test_errors_of_the_database_show_no_key(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    async with talkative(installation) as listener:
        async with installation.sql() as connection:
            await connection.execute("alter table catalog.resources add check (name <> 'unlucky')")
        body = {"metadata": {"name": "unlucky"}, "spec": model("key-of-unlucky-1")}
        await listener.ask("POST", "kinds/models", 500, body)
        await listener.apply(text_of(document("Model", "unlucky", model("key-of-unlucky-2"))), 500)
        async with installation.sql() as connection:
            await connection.execute("revoke insert on catalog.secrets from signalbox_catalog")
        await listener.ask("POST", "kinds/models", 500, body | {"spec": model("key-of-unlucky-3")})
        out = capsys.readouterr().out
        assert "violates check constraint" in out
        assert "permission denied" in out
        where = {"answers": listener.heard, "logs": [out.encode()]} | await tables(installation)
        assert shown([f"key-of-unlucky-{number}" for number in (1, 2, 3)], where) == []


# -- the store --------------------------------------------------------------------------------------------


@pytest.mark.fresh
async def test_a_new_key_for_the_store(installation: Installation, catalog: Catalog) -> None:
    for number in range(5):
        await catalog.create("models", f"m{number}", model(f"key-of-number-{number}"))
    async with installation.sql() as connection:
        before = {row[0] for row in await connection.fetch("select distinct kek from catalog.secrets")}
    rotated = await installation.operator(RotateSecrets(), "catalog")
    assert rotated.rewrapped == 5
    async with installation.sql() as connection:
        after = {row[0] for row in await connection.fetch("select distinct kek from catalog.secrets")}
    assert after == {rotated.key_id}
    assert after.isdisjoint(before)
    other = installation.catalog()
    async with running(other):
        for number in range(5):
            keys = await keys_of(installation, catalog, "models", f"m{number}")
            assert keys == {API_KEY: f"key-of-number-{number}"}
        again = [document("Model", f"m{number}", model(f"key-of-number-{number}")) for number in range(5)]
        assert {item["action"] for item in await applied(catalog, *again)} == {"unchanged"}
        await catalog.create("models", "newer", model("key-after-rotation"))
        assert await keys_of(installation, catalog, "models", "newer") == {API_KEY: "key-after-rotation"}
    keys_file = installation.folder / "catalog.keys"
    assert keys_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.fresh
async def test_without_its_key_file_the_catalog_does_not_start(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    keys_file = installation.folder / "catalog.keys"
    aside = installation.folder / "aside"
    logged: list[str] = []

    async def complains() -> bool:
        logged.append(capsys.readouterr().out)
        return "restore it from a backup" in "".join(logged)

    async with catalog_of(installation) as catalog:
        await catalog.create("models", "m", model("key-in-danger-1"))
        keys_file.rename(aside)
        refused = await catalog.http.post(
            f"{KINDS}/models",
            json={"metadata": {"name": "n"}, "spec": model("key-without-store")},
            headers=catalog.headers,
        )
        assert (refused.status_code, refused.json()["code"]) == (503, "secrets_unavailable")
        assert "catalog.keys" not in refused.text
        await catalog.get("models/n", 404)
        (same,) = await applied(catalog, document("Model", "m", model("key-in-danger-1")))
        assert same["action"] == "unchanged", "for which no key is needed"
        await catalog.create("ghosts", "keyless")
        assert not keys_file.exists(), "a new one would hide that the old one is lost"
        await complains()
    logged.clear()
    service = installation.catalog()
    started = asyncio.Event()
    starting = asyncio.create_task(service.run(started=started.set))
    await eventually(complains, what="the reason in the log")
    assert not started.is_set()
    assert not starting.done()
    assert not keys_file.exists()
    aside.rename(keys_file)
    await asyncio.wait_for(started.wait(), 10)
    service.stop()
    await starting
    assert "key-in-danger-1" not in "".join(logged)
    wrong = installation.catalog(secret_key="not-the-one-that-the-file-was-made-with")
    started.clear()
    starting = asyncio.create_task(wrong.run(started=started.set))
    try:
        await eventually(lambda: _said(capsys, logged, "does not belong to this SECRET_KEY"))
        assert not started.is_set()
    finally:
        wrong.stop()
        await starting


async def _said(capsys: pytest.CaptureFixture[str], logged: list[str], what: str) -> bool:
    logged.append(capsys.readouterr().out)
    return what in "".join(logged)
