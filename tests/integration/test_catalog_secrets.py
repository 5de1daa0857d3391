"""Keys in resources: they are stored, kept and found again, and show in clear nowhere at all."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import yaml

from signalbox_catalog.service import tidying
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.store.rows import secrets_of
from signalbox_common.contracts.catalog import RotateCatalogSecrets
from signalbox_common.runtime import Service
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, YAML, Catalog, catalog_of
from tests.support.installation import Installation

OURS, THEIRS = "signalbox.dev/v1", "agent.wecode.io/v1"
PLURALS = ("ghosts", "models", "shells", "bots", "teams", "skills")
API_KEY = "/modelConfig/env/api_key"


def document(kind: str, name: str, spec: Any, *, api: str = OURS, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name} | metadata, "spec": spec}


def model(key: Any, **env: Any) -> dict[str, Any]:
    return {"modelConfig": {"env": {"model": "openai", "api_key": key} | env}}


def text_of(*documents: dict[str, Any]) -> str:
    return str(yaml.safe_dump_all(documents, sort_keys=False))


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


def secret_key_of(installation: Installation) -> str:
    return installation.servers.credentials.secret_key_of("catalog") or ""


def vault_of(installation: Installation, service: Service) -> Vault:
    """As another process would open it."""
    secret_key = secret_key_of(installation)
    keys = KeyFile(installation.folder / "catalog.keys", secret_key)
    return Vault(LocalSecrets(service.database, keys), secret_key)


async def keys_of(
    installation: Installation, catalog: Catalog, plural: str, name: str, **query: Any
) -> dict[str, Any]:
    """The keys of a resource, as whoever runs it will get them."""
    uid = (await catalog.get(f"{plural}/{name}", **query))["metadata"]["uid"]
    async with installation.sql() as connection:
        stored = await connection.fetchval("select secrets from catalog.resources where uid = $1", uid)
    return await vault_of(installation, catalog.service).reveal(secrets_of(json.loads(stored)))


async def tidy(service: Service) -> None:
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)


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


async def changed(catalog: Catalog, method: str, path: str, body: Any, status: int = 200) -> Any:
    answer = await catalog.http.request(method, f"{KINDS}/{path}", json=body, headers=catalog.headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def applied(catalog: Catalog, *documents: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = await catalog.apply(text_of(*documents), **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


# -- nowhere in clear ------------------------------------------------------------------------------------


def _ghost(number: str) -> dict[str, Any]:
    """Keys in all the places where MCP servers have them."""
    return {
        "systemPrompt": "marker-of-a-prompt",
        "mcpServers": {
            "gh": {
                "command": "docker",
                "args": ["run", "-e", f"GITHUB_TOKEN=argKey{number}aaaa", "--api-key", f"flagKey{number}bb"],
                "env": {"GITHUB_TOKEN": f"envKey{number}cccc", "PLACE": f"ghp_looksLikeOne{number}"},
            },
            "web": {"type": "http", "headers": {"Authorization": f"Bearer headerKey{number}d"}},
        },
        "env": [{"name": "DB_PASSWORD", "value": f"pairKey{number}eeee"}],
        "database": {"password": f"nestedKey{number}f", "dsn": f"postgres://u:dsnKey{number}g@db/x"},
    }


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

        made = await ask("POST", "kinds/ghosts", 201, body("g", _ghost("01")))
        assert "***" in json.dumps(made)
        await ask("POST", "kinds/models", 201, body("m", model("postKey02aaaa")))
        await ask("POST", "kinds/models", 201, body("short", {"provider": "x", "apiKey": "shortKey03aaa"}))
        await ask("POST", "kinds/shells", 201, body("s", {"type": "x", "env": {"A_TOKEN": "shellKey04aaa"}}))
        skill = {"description": "x", "mcpServers": {"a": {"env": {"A_SECRET": "skillKey05aaa"}}}}
        await ask("POST", "kinds/skills", 201, body("k", skill))
        refs = {"ghostRef": "g", "shellRef": "s", "modelRef": "m", "secretKey": "botKey06aaaaa"}
        await ask("POST", "kinds/bots", 201, body("b", refs))
        await ask("POST", "kinds/teams", 201, body("t", {"bots": ["b"], "env": {"X_KEY": "teamKey07aaaa"}}))
        await ask("PUT", "kinds/ghosts/g", 200, {"spec": _ghost("08")})
        patch = {"spec": {"modelConfig": {"env": {"api_key": "patchKey09aaa"}}}}
        await ask("PATCH", "kinds/models/m", 200, patch)
        text = text_of(
            document("Ghost", "g", _ghost("10")),
            document("Ghost", "new", _ghost("11")),
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


# -- kept, changed, found again --------------------------------------------------------------------------


@pytest.mark.fresh
async def test_keys_can_be_had_by_who_needs_them(installation: Installation, catalog: Catalog) -> None:
    await catalog.create("models", "one", model("key-of-one-0001"))
    await catalog.create("models", "two", model("key-of-two-0002"))
    await catalog.create("models", "same", model("key-of-one-0001", token="its-token-0003"))
    await catalog.create("ghosts", "ghost", _ghost("04"))
    project = await catalog.http.project(catalog.headers, "Elsewhere")
    slug = (await catalog.http.get(f"/api/v1/projects/{project}", headers=catalog.headers)).json()["slug"]
    await catalog.create("models", "one", model("key-elsewhere-5"), namespace=slug)
    expected: dict[tuple[str, str], dict[str, Any]] = {
        ("models", "one"): {API_KEY: "key-of-one-0001"},
        ("models", "two"): {API_KEY: "key-of-two-0002"},
        ("models", "same"): {API_KEY: "key-of-one-0001", "/modelConfig/env/token": "its-token-0003"},
        ("ghosts", "ghost"): {
            "/mcpServers/gh/args/2": "argKey04aaaa",
            "/mcpServers/gh/args/4": "flagKey04bb",
            "/mcpServers/gh/env/GITHUB_TOKEN": "envKey04cccc",
            "/mcpServers/gh/env/PLACE": "ghp_looksLikeOne04",
            "/mcpServers/web/headers/Authorization": "Bearer headerKey04d",
            "/env/0/value": "pairKey04eeee",
            "/database/password": "nestedKey04f",
            "/database/dsn": "postgres://u:dsnKey04g@db/x",
        },
    }
    for (plural, name), keys in expected.items():
        assert await keys_of(installation, catalog, plural, name) == keys
    assert await keys_of(installation, catalog, "models", "one", namespace=slug) == {
        API_KEY: "key-elsewhere-5"
    }
    async with installation.sql() as connection:
        rows = await connection.fetch("select secrets from catalog.resources where kind = 'Model'")
    entries = [entry for row in rows for entry in json.loads(row["secrets"]).values()]
    assert len({entry["mark"] for entry in entries}) == len(entries) == 5, (
        "nothing tells that two are the same"
    )
    assert len({entry["bundle"] for entry in entries}) == 4


@pytest.mark.parametrize("way", ["put", "patch", "apply"])
@pytest.mark.fresh
async def test_three_asterisks_keep_a_key(installation: Installation, catalog: Catalog, way: str) -> None:
    made = await catalog.create("models", "m", model("the-first-key-1", token="the-token-2"))
    assert made["spec"]["modelConfig"]["env"] == {"model": "openai", "api_key": "***", "token": "***"}

    async def send(resource: dict[str, Any]) -> Any:
        if way == "put":
            return await changed(catalog, "PUT", "models/m", resource)
        if way == "patch":
            return await changed(catalog, "PATCH", "models/m", {"spec": resource["spec"]})
        await applied(catalog, resource)
        return await catalog.get("models/m")

    assert await send(made) == made, "what is sent back as it came changes nothing"
    env = {"model": "claude", "api_key": "***", "token": "***"}
    newer = await send(made | {"spec": {"modelConfig": {"env": env}}, "metadata": {"name": "m"}})
    assert newer["spec"]["modelConfig"]["env"] == env
    assert newer["metadata"]["generation"] == 2
    first = {API_KEY: "the-first-key-1", "/modelConfig/env/token": "the-token-2"}
    assert await keys_of(installation, catalog, "models", "m") == first
    same = made | {
        "spec": {"modelConfig": {"env": env | {"api_key": "the-first-key-1"}}},
        "metadata": {"name": "m"},
    }
    assert await send(same) == newer, "nor does the same key in clear"
    other = made | {
        "spec": {"modelConfig": {"env": env | {"token": "another-key-3"}}},
        "metadata": {"name": "m"},
    }
    assert (await send(other))["metadata"]["generation"] == 3
    assert await keys_of(installation, catalog, "models", "m") == first | {
        "/modelConfig/env/token": "another-key-3"
    }
    placeholder = env | {"api_key": "${OPENAI_API_KEY}"}
    shown_ = await send(made | {"spec": {"modelConfig": {"env": placeholder}}, "metadata": {"name": "m"}})
    assert shown_["spec"]["modelConfig"]["env"]["api_key"] == "${OPENAI_API_KEY}"
    assert set(await keys_of(installation, catalog, "models", "m")) == {"/modelConfig/env/token"}


async def test_three_asterisks_without_a_key(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("models", "keyed", model("there-is-one-1"))
    await catalog.create("models", "bare", {"modelConfig": {"env": {"model": "x"}}})
    unknown = {"spec": model("***")}
    named = unknown | {"metadata": {"name": "new"}}
    moved = {"spec": {"modelConfig": {"env": {"other_api_key": "***"}}}}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", "models", named, "spec.modelConfig.env.api_key"),
        ("PUT", "models/bare", unknown, "spec.modelConfig.env.api_key"),
        ("PATCH", "models/bare", unknown, "spec.modelConfig.env.api_key"),
        ("PUT", "models/keyed", moved, "spec.modelConfig.env.other_api_key"),
        ("PATCH", "models/keyed", moved, "spec.modelConfig.env.other_api_key"),
        ("PUT", "models/keyed", {"spec": model("there-is-one-1", model="***")}, "spec.modelConfig.env.model"),
    ]
    for method, path, body, where in cases:
        with subtests.test(method, path=path, where=where):
            problem = await changed(catalog, method, path, body, 422)
            assert [(each["field"], each["code"]) for each in problem["errors"]] == [
                (where, "unknown_secret")
            ]
    with subtests.test("apply"):
        good = document("Model", "good", model("another-key-2"))
        answer = await catalog.apply(text_of(good, document("Model", "bare", model("***"))))
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["document"], error["field"]) == (2, "spec.modelConfig.env.api_key")
        assert error["line"] > text_of(good).count("\n")
        await catalog.get("models/good", 404)
    with subtests.test("removed"):
        patch = {"spec": {"modelConfig": {"env": {"api_key": None}}}}
        assert (await changed(catalog, "PATCH", "models/keyed", patch))["metadata"]["generation"] == 2
        await changed(catalog, "PATCH", "models/keyed", unknown, 422)
    with subtests.test("made anew"):
        await catalog.create("models", "brief", model("of-the-first-3"))
        where = f"{KINDS}/models/brief"
        assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
        again = {"spec": model("***"), "metadata": {"name": "brief"}}
        await changed(catalog, "POST", "models", again, 422)


@pytest.mark.fresh
async def test_another_key_is_a_change(installation: Installation, catalog: Catalog) -> None:
    made = await catalog.create("models", "m", model("the-first-key-1"))
    patch = {"spec": {"modelConfig": {"env": {"api_key": "the-second-key-2"}}}}
    newer = await changed(catalog, "PATCH", "models/m", patch)
    assert newer["spec"] == made["spec"]
    assert (newer["metadata"]["generation"], newer["metadata"]["resourceVersion"]) == (2, "2")
    (item,) = await applied(catalog, document("Model", "m", model("the-third-key-3")))
    assert (item["action"], item["generation"], item["resourceVersion"]) == ("updated", 3, "3")
    assert await keys_of(installation, catalog, "models", "m") == {API_KEY: "the-third-key-3"}
    (item,) = await applied(catalog, document("Model", "m", model("the-third-key-3")))
    assert item["action"] == "unchanged"

    async def told() -> list[str]:
        found = await installation.messages("EVENTS", "evt.*.catalog.resource.*")
        assert len(found) == 3
        return [message.subject.rpartition(".")[2] for message in found]

    assert await eventually(told) == ["created", "updated", "updated"]
    history = (await catalog.get("models/m/history"))["items"]
    assert [entry["generation"] for entry in history] == [3, 2, 1]


async def test_history_shows_that_a_key_has_changed(catalog: Catalog) -> None:
    """As a dry run does; what is otherwise the same would look like no change at all."""
    await catalog.create("models", "m", model("the-first-key-1", token="the-token-9"))
    patch = {"spec": {"modelConfig": {"env": {"api_key": "the-second-key-2"}}}}
    await changed(catalog, "PATCH", "models/m", patch)
    detail = await catalog.get("models/m/history/2")
    assert detail["diff"] == [{"op": "replace", "path": f"/spec{API_KEY}", "old": "***", "new": "***"}]


@pytest.mark.fresh
async def test_old_keys_come_back_with_their_generation(
    installation: Installation, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "GRACE", timedelta(0))
    await catalog.create("models", "m", model("key-of-generation-1", token="constant-token"))
    for number in (2, 3):
        patch = {"spec": {"modelConfig": {"env": {"api_key": f"key-of-generation-{number}"}}}}
        await changed(catalog, "PATCH", "models/m", patch)
    await tidy(catalog.service)
    for number in (1, 2, 3):
        back = await catalog.http.post(f"{KINDS}/models/m/history/{number}/rollback", headers=catalog.headers)
        assert back.status_code == 200, back.text
        assert await keys_of(installation, catalog, "models", "m") == {
            API_KEY: f"key-of-generation-{number}",
            "/modelConfig/env/token": "constant-token",
        }
        await tidy(catalog.service)
    generation = (await catalog.get("models/m"))["metadata"]["generation"]
    assert generation == 6
    where = f"{KINDS}/models/m"
    assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
    await tidy(catalog.service)
    assert (await catalog.http.post(f"{where}/restore", headers=catalog.headers)).status_code == 200
    assert (await keys_of(installation, catalog, "models", "m"))[API_KEY] == "key-of-generation-3"
    await changed(catalog, "PUT", "models/m", {"spec": model("***", token="***")})
    assert (await keys_of(installation, catalog, "models", "m"))[API_KEY] == "key-of-generation-3"


@pytest.mark.fresh
async def test_keys_of_what_is_gone_are_gone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog_of(installation, deleted_kept_days=0, history_kept_days=0) as catalog:
        await catalog.create("models", "gone", model("key-that-goes-1"))
        await catalog.create("models", "stays", model("key-that-stays-2"))
        lost = text_of(
            document("Model", "new", model("key-of-nobody-3")),
            document("Bot", "b", {"ghostRef": "nobody", "shellRef": "nobody"}),
        )
        assert (await catalog.apply(lost)).status_code == 422
        assert await installation.count("catalog.secrets") == 3, "one was stored for what was refused then"
        where = f"{KINDS}/models/gone"
        assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
        await tidy(catalog.service)
        assert await installation.count("catalog.secrets") == 3, "somebody may still be writing"
        monkeypatch.setattr(tidying, "GRACE", timedelta(0))
        await tidy(catalog.service)
        await tidy(catalog.service)
        assert await installation.count("catalog.secrets") == 1
        assert await keys_of(installation, catalog, "models", "stays") == {API_KEY: "key-that-stays-2"}


@pytest.mark.fresh
async def test_keys_that_are_no_texts(installation: Installation, catalog: Catalog) -> None:
    keys: dict[str, Any] = {"api_key": 123456789, "pin_token": 12.5, "other_token": -7, "password": "1234"}
    no_keys: dict[str, Any] = {"use_token": True, "empty_token": "", "no_token": None, "max_tokens": 4000}
    spec = {"modelConfig": {"env": keys | no_keys}}
    made = await catalog.create("models", "m", spec)
    assert made["spec"]["modelConfig"]["env"] == dict.fromkeys(keys, "***") | no_keys
    stored = {f"/modelConfig/env/{name}": key for name, key in keys.items()}
    assert await keys_of(installation, catalog, "models", "m") == stored
    assert await changed(catalog, "PUT", "models/m", {"spec": spec}) == made, "the same keys again"
    assert (await applied(catalog, document("Model", "m", spec)))[0]["action"] == "unchanged"
    as_text = {"spec": {"modelConfig": {"env": {"api_key": "123456789"}}}}
    assert (await changed(catalog, "PATCH", "models/m", as_text))["metadata"]["generation"] == 2
    assert (await keys_of(installation, catalog, "models", "m"))[API_KEY] == "123456789"


# -- keys that move --------------------------------------------------------------------------------------


def _docker(*variables: str) -> dict[str, Any]:
    args = ["run", *(part for variable in variables for part in ("-e", variable)), "img"]
    return {"systemPrompt": "x", "mcpServers": {"gh": {"command": "docker", "args": args}}}


def _pairs(*names: str, **values: str) -> dict[str, Any]:
    pairs = dict.fromkeys(names, "***") | values
    return {"systemPrompt": "x", "env": [{"name": name, "value": value} for name, value in pairs.items()]}


PAIRS = _pairs(GITHUB_TOKEN="key-for-github", OTHER_TOKEN="key-for-other")


MOVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "first-argument-removed": (
        _docker("GITHUB_TOKEN=key-for-github", "OTHER_TOKEN=key-for-other"),
        _docker("OTHER_TOKEN=***"),
    ),
    "arguments-swapped": (
        _docker("GITHUB_TOKEN=key-for-github", "OTHER_TOKEN=key-for-other"),
        _docker("OTHER_TOKEN=***", "GITHUB_TOKEN=***"),
    ),
    "argument-renamed": (_docker("GITHUB_TOKEN=key-for-github"), _docker("OTHER_TOKEN=***")),
    "first-pair-removed": (PAIRS, _pairs("OTHER_TOKEN")),
    "pairs-swapped": (PAIRS, _pairs("OTHER_TOKEN", "GITHUB_TOKEN")),
}


def _by_name(spec: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Which variable gets which key."""
    if "env" in spec:
        return {pair["name"]: keys[f"/env/{n}/value"] for n, pair in enumerate(spec["env"])}
    args = spec["mcpServers"]["gh"]["args"]
    return {
        text.partition("=")[0]: keys[f"/mcpServers/gh/args/{n}"] for n, text in enumerate(args) if "=" in text
    }


@pytest.mark.parametrize("move", list(MOVES))
@pytest.mark.fresh
async def test_no_key_goes_to_somebody_else(installation: Installation, catalog: Catalog, move: str) -> None:
    """What is sent back without its first variable must not hand that one's key to the next."""
    before, after = MOVES[move]
    await catalog.create("ghosts", "g", before)
    answer = await catalog.http.put(f"{KINDS}/ghosts/g", json={"spec": after}, headers=catalog.headers)
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["code"] == "unknown_secret"
        return
    assert answer.status_code == 200, answer.text
    right = {"GITHUB_TOKEN": "key-for-github", "OTHER_TOKEN": "key-for-other"}
    keys = await keys_of(installation, catalog, "ghosts", "g")
    given = _by_name(after, keys)
    assert given == {name: right[name] for name in given}


@pytest.mark.fresh
async def test_a_key_that_is_moved_has_to_be_said_again(installation: Installation, catalog: Catalog) -> None:
    def server(name: str, token: str) -> dict[str, Any]:
        return {"systemPrompt": "x", "mcpServers": {name: {"command": "x", "env": {"A_TOKEN": token}}}}

    await catalog.create("ghosts", "g", server("old", "key-that-moves"))
    problem = await changed(catalog, "PUT", "ghosts/g", {"spec": server("new", "***")}, 422)
    assert [error["field"] for error in problem["errors"]] == ["spec.mcpServers.new.env.A_TOKEN"]
    assert await keys_of(installation, catalog, "ghosts", "g") == {
        "/mcpServers/old/env/A_TOKEN": "key-that-moves"
    }
    moved = await changed(catalog, "PUT", "ghosts/g", {"spec": server("new", "key-that-moves")})
    assert moved["metadata"]["generation"] == 2
    assert await keys_of(installation, catalog, "ghosts", "g") == {
        "/mcpServers/new/env/A_TOKEN": "key-that-moves"
    }
    odd = {"systemPrompt": "x", "env": {"A/B~C_TOKEN": "key-of-odd-name", "0": {"API_KEY": "key-below-zero"}}}
    await changed(catalog, "PUT", "ghosts/g", {"spec": odd})
    assert await keys_of(installation, catalog, "ghosts", "g") == {
        "/env/A~1B~0C_TOKEN": "key-of-odd-name",
        "/env/0/API_KEY": "key-below-zero",
    }


@pytest.mark.fresh
async def test_two_who_change_keys_at_once(installation: Installation, catalog: Catalog) -> None:
    """Each write has two keys; afterwards both are of the same one."""
    await catalog.create("models", "m", model("first-key-0", token="first-token-0"))

    async def write(number: int) -> int:
        env = {"api_key": f"key-number-{number}", "token": f"token-number-{number}"}
        where, body = f"{KINDS}/models/m", {"spec": {"modelConfig": {"env": env}}}
        if number % 2:
            body = {"spec": {"modelConfig": {"env": {"model": "openai"} | env}}}
            return (await catalog.http.put(where, json=body, headers=catalog.headers)).status_code
        return (await catalog.http.patch(where, json=body, headers=catalog.headers)).status_code

    assert await asyncio.gather(*(write(number) for number in range(1, 13))) == [200] * 12
    keys = await keys_of(installation, catalog, "models", "m")
    assert set(keys) == {API_KEY, "/modelConfig/env/token"}
    assert keys[API_KEY].replace("key", "token") == keys["/modelConfig/env/token"]
    assert (await catalog.get("models/m"))["metadata"]["generation"] == 13


# -- the store -------------------------------------------------------------------------------------------


@pytest.mark.fresh
async def test_a_new_key_for_the_store(installation: Installation, catalog: Catalog) -> None:
    for number in range(5):
        await catalog.create("models", f"m{number}", model(f"key-of-number-{number}"))
    async with installation.sql() as connection:
        before = {row[0] for row in await connection.fetch("select distinct kek from catalog.secrets")}
    rotated = await installation.operator(RotateCatalogSecrets())
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
