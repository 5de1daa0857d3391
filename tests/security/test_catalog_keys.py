"""Keys in specs: what stands in environments is hidden, nothing tells a guess, no key goes elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.factories import document, text_of
from tests.support.installation import Installation
from tests.support.sealed import API_KEY, applied, keys_of

KEY, GUESS = "the-right-key-0001", "a-wrong-guess-0002"
HOME = "https://models.example/v1"
EVIL = "https://evil.example/v1"


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


def model(key: str, base_url: str | None = HOME, **env: Any) -> dict[str, Any]:
    where = {} if base_url is None else {"base_url": base_url}
    return {"modelConfig": {"env": {"model": "openai", "api_key": key} | where | env}}


async def asked(catalog: Catalog, method: str, path: str, body: Any) -> tuple[int, Any]:
    answer = await catalog.http.request(method, f"{KINDS}/{path}", json=body, headers=catalog.headers)
    return answer.status_code, answer.json()


def codes(problem: Any) -> set[str]:
    return {error["code"] for error in problem["errors"]}


# -- what is hidden ---------------------------------------------------------------------------------------


async def test_environments_are_hidden_but_for_names_that_are_shown(
    installation: Installation, catalog: Catalog
) -> None:
    env = {"PIN": "1234", "SEED_PHRASE": "correct horse", "REGION_CODE": 7, "LANG": "C", "TZ": "UTC"}
    spec = {
        "systemPrompt": "Clone https://ci:hunter2@git.example/x and read https://git.example/y.",
        "mcpServers": {"x": {"command": "serve", "args": ["-e", "PIN=9876", "-v"], "env": env}},
    }
    made = (await catalog.create("ghosts", "g", spec))["spec"]
    server = made["mcpServers"]["x"]
    assert server["env"] == env | dict.fromkeys(("PIN", "SEED_PHRASE", "REGION_CODE"), "***")
    assert server["args"] == ["-e", "PIN=***", "-v"]
    assert made["systemPrompt"] == "Clone https://***@git.example/x and read https://git.example/y."
    assert await keys_of(installation, catalog, "ghosts", "g") == {
        "/mcpServers/x/env/PIN": "1234",
        "/mcpServers/x/env/SEED_PHRASE": "correct horse",
        "/mcpServers/x/env/REGION_CODE": 7,
        "/mcpServers/x/args/1": "9876",
        "/systemPrompt": ["ci:hunter2"],
    }
    again = {"spec": made | {"systemPrompt": "Also: " + made["systemPrompt"]}}
    status, changed = await asked(catalog, "PUT", "ghosts/g", again)
    assert status == 200, changed
    assert (await keys_of(installation, catalog, "ghosts", "g"))["/systemPrompt"] == ["ci:hunter2"]


# -- guessing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("also", ["nothing", "label", "model", "another document"])
async def test_a_dry_run_does_not_tell_a_guess(catalog: Catalog, also: str) -> None:
    await catalog.create("models", "m", model(KEY))

    async def tried(key: str) -> Any:
        labels: dict[str, Any] = {"labels": {"a": "b"}} if also == "label" else {}
        env = {"model_id": "m2"} if also == "model" else {}
        documents = [document("Model", "m", model(key, **env), **labels)]
        if also == "another document":
            documents.append(document("Model", "n", model(KEY)))
        return await applied(catalog, *documents, dryRun=True)

    right, wrong = await tried(KEY), await tried(GUESS)
    assert right == wrong
    assert right[0]["action"] == "updated"
    assert {"op": "replace", "path": f"/spec{API_KEY}", "old": "***", "new": "***"} in right[0]["diff"]
    assert "does not tell" in right[0]["warning"]
    (kept,) = await applied(catalog, document("Model", "m", model("***")), dryRun=True)
    assert (kept["action"], kept["warning"]) == ("unchanged", None)
    (same,) = await applied(catalog, document("Model", "m", model(KEY)))
    assert same["action"] == "unchanged", "a write changes nothing for the same key"


async def test_a_write_that_is_refused_does_not_tell_a_guess(catalog: Catalog) -> None:
    """It leaves no trace, so it could be tried as often as one likes."""
    made = await catalog.create("models", "m", model(KEY))
    old = {"resourceVersion": made["metadata"]["resourceVersion"]}
    status, _ = await asked(catalog, "PATCH", "models/m", {"metadata": {"labels": {"a": "b"}}})
    assert status == 200

    async def tried(key: str) -> list[Any]:
        spec = model(key)
        answers: list[Any] = [
            await asked(catalog, "PUT", "models/m", {"metadata": old | {"labels": {"a": "b"}}, "spec": spec}),
        ]
        for documents in (
            [document("Model", "m", spec, **old, labels={"a": "b"})],
            [document("Model", "m", spec, labels={"a": "b"}), document("Ghost", "g", {"systemPrompt": 1})],
            [
                document("Model", "m", spec, labels={"a": "b"}),
                document("Bot", "b", {"ghostRef": "nobody", "shellRef": "nobody"}),
            ],
        ):
            answer = await catalog.apply(text_of(*documents))
            answers.append((answer.status_code, answer.json()))
        for _, problem in answers:
            problem.pop("correlationId", None)
            problem.pop("instance", None)
        return answers

    right, wrong = await tried(KEY), await tried(GUESS)
    assert [status for status, _ in right] == [409, 409, 422, 422]
    assert [(status, body.get("errors"), body["detail"]) for status, body in right] == [
        (status, body.get("errors"), body["detail"]) for status, body in wrong
    ]


async def test_a_hidden_address_is_not_guessed_beside_a_kept_key(catalog: Catalog) -> None:
    def ghost(url: str, token: str) -> dict[str, Any]:
        env = {"SERVICE_URL": url, "TOKEN": token}
        return {"systemPrompt": "x", "mcpServers": {"x": {"command": "serve", "env": env}}}

    await catalog.create("ghosts", "g", ghost("https://inside.example", KEY))
    answers = [
        await asked(catalog, "PUT", "ghosts/g", {"spec": ghost(url, "***")})
        for url in ("https://inside.example", "https://other.example")
    ]
    assert [(status, codes(problem)) for status, problem in answers] == [(422, {"key_needed"})] * 2


# -- keys that would go elsewhere -------------------------------------------------------------------------

CHANGED: dict[str, dict[str, Any]] = {
    "another address": {"modelConfig": {"env": {"base_url": EVIL}}},
    "another port": {"modelConfig": {"env": {"base_url": HOME.replace("example", "example:81")}}},
    "no address": {"modelConfig": {"env": {"base_url": None}}},
    "short form": {"baseUrl": EVIL},
    "an address beside": {"modelConfig": {"proxy": {"url": EVIL}}},
    "a host above": {"endpoint": EVIL},
    "a variable": {"modelConfig": {"env": {"HTTPS_PROXY": EVIL}}},
    "a hidden variable": {"modelConfig": {"env": {"api_host": "evil"}}},
}


@pytest.mark.parametrize("change", list(CHANGED))
async def test_another_address_asks_for_the_key_again(
    installation: Installation, catalog: Catalog, change: str
) -> None:
    made = await catalog.create("models", "m", model(KEY))
    status, problem = await asked(catalog, "PATCH", "models/m", {"spec": CHANGED[change]})
    assert (status, codes(problem)) == (422, {"key_needed"}), problem
    assert [error["field"] for error in problem["errors"]] == ["spec.modelConfig.env.api_key"]
    assert await catalog.get("models/m") == made
    given = dict(CHANGED[change])
    config = given.get("modelConfig", {})
    given["modelConfig"] = config | {"env": config.get("env", {}) | {"api_key": KEY}}
    status, changed = await asked(catalog, "PATCH", "models/m", {"spec": given})
    assert status == 200, changed
    assert (await keys_of(installation, catalog, "models", "m"))[API_KEY] == KEY


async def test_whole_documents_ask_for_the_key_again_too(catalog: Catalog) -> None:
    await catalog.create("models", "m", model(KEY))
    for url in (EVIL, None):
        status, problem = await asked(catalog, "PUT", "models/m", {"spec": model("***", url)})
        assert (status, codes(problem)) == (422, {"key_needed"})
        for dry_run in (True, False):
            answer = await catalog.apply(text_of(document("Model", "m", model("***", url))), dryRun=dry_run)
            assert (answer.status_code, codes(answer.json())) == (422, {"key_needed"})
            assert answer.json()["errors"][0]["line"] is not None
    status, _ = await asked(catalog, "PATCH", "models/m", {"spec": {"modelConfig": {"temperature": 1}}})
    assert status == 200, "that says nothing of where it goes"
    status, _ = await asked(catalog, "PUT", "models/m", {"spec": model("***", model_id="m2")})
    assert status == 200


SERVER = {
    "command": "docker",
    "args": ["run", "image:1"],
    "env": {"TOKEN": KEY, "SERVICE_URL": HOME},
    "url": HOME,
    "headers": {"Authorization": f"Bearer {KEY}"},
}


@pytest.mark.parametrize(
    "change",
    [
        {"command": "evil"},
        {"args": ["run", "evil:1"]},
        {"args": ["run", "image:1", "--verbose"]},
        {"url": EVIL},
        {"env": {"SERVICE_URL": EVIL}},
        {"env": {"PATH": "/tmp/evil"}},
    ],
)
async def test_another_program_asks_for_the_keys_again(catalog: Catalog, change: dict[str, Any]) -> None:
    await catalog.create("ghosts", "g", {"systemPrompt": "x", "mcpServers": {"one": SERVER, "two": SERVER}})
    status, problem = await asked(catalog, "PATCH", "ghosts/g", {"spec": {"mcpServers": {"one": change}}})
    assert (status, codes(problem)) == (422, {"key_needed"}), problem
    fields = {error["field"] for error in problem["errors"]}
    assert {"spec.mcpServers.one.env.TOKEN", "spec.mcpServers.one.headers.Authorization"} <= fields
    assert not any(".two." in field for field in fields), "those go where they went"
    status, _ = await asked(catalog, "PATCH", "ghosts/g", {"spec": {"systemPrompt": "See https://a.example"}})
    assert status == 200


async def test_the_key_within_an_address_stays_with_it(installation: Installation, catalog: Catalog) -> None:
    base = "https://user:hunter2@models.example/v1"
    made = await catalog.create("models", "m", {"modelConfig": {"env": {"model": "x", "base_url": base}}})
    shown = made["spec"]["modelConfig"]["env"]["base_url"]
    assert shown == "https://***@models.example/v1"
    change = {"spec": {"modelConfig": {"env": {"base_url": shown.replace("models", "evil")}}}}
    status, problem = await asked(catalog, "PATCH", "models/m", change)
    assert (status, codes(problem)) == (422, {"key_needed"})
    assert await keys_of(installation, catalog, "models", "m") == {
        "/modelConfig/env/base_url": ["user:hunter2"]
    }
