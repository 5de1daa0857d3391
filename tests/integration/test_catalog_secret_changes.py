"""Keys of resources are kept, changed and found again; none goes to somebody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from signalbox_catalog.service import tidying
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.factories import document, text_of
from tests.support.installation import Installation
from tests.support.sealed import API_KEY, applied, ghost_with_keys, keys_of, model


async def tidy(service: Service) -> None:
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


async def changed(catalog: Catalog, method: str, path: str, body: Any, status: int = 200) -> Any:
    answer = await catalog.http.request(method, f"{KINDS}/{path}", json=body, headers=catalog.headers)
    assert answer.status_code == status, answer.text
    return answer.json()


# -- kept, changed, found again ---------------------------------------------------------------------------


@pytest.mark.fresh
async def test_keys_can_be_had_by_who_needs_them(installation: Installation, catalog: Catalog) -> None:
    await catalog.create("models", "one", model("key-of-one-0001"))
    await catalog.create("models", "two", model("key-of-two-0002"))
    await catalog.create("models", "same", model("key-of-one-0001", token="its-token-0003"))
    await catalog.create("ghosts", "ghost", ghost_with_keys("04"))
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


# -- keys that move ---------------------------------------------------------------------------------------


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
