"""What is misspelt is refused wherever people send something, and names what was probably meant."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from signalbox_gateway.app import build
from signalbox_gateway.settings import GatewaySettings
from tests.support.factories import Person, registered
from tests.support.installation import PASSWORD, Http, Installation

SURPLUS = "surplusField"
PLACES = {"plural": "ghosts", "name": "helper", "port": "8080", "template": "base@1", "generation": "1"}
OTHERWISE = {
    "POST /api/v1/apply": "documents, which are told of with their lines",
    "POST /api/v1/hooks/{token}": "whatever others tell",
    "POST /api/v1/projects/{project_id}/events": "attributes of events, which have a refusal of their own",
    "POST /api/v1/sandboxes/{sandbox_id}/ports/{port}/{path}": "whatever the program there takes",
    "PUT /api/v1/sandboxes/{sandbox_id}/ports/{port}/{path}": "the same",
    "PATCH /api/v1/sandboxes/{sandbox_id}/ports/{port}/{path}": "the same",
}
ANY_QUERY = ("/api/v1/hooks/", "/api/v1/sandboxes/{sandbox_id}/ports/{port}/{path}", "/preview/")
"""What stands behind the question mark is not for us."""


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return build(GatewaySettings(docs=True))


def _bodies(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every route that changes something, with an address of something that is not there."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            media = operation.get("requestBody", {}).get("content", {"application/json": {}})
            if method in ("post", "put", "patch") and "application/json" in media:
                yield method.upper(), path


def _at(path: str) -> str:
    names = {part[1:-1] for part in path.split("/") if part.startswith("{")}
    return path.format_map({name: PLACES.get(name, str(uuid.uuid4())) for name in names})


async def test_an_unknown_field_is_refused_by_every_route_with_a_body(
    installation: Installation, app: FastAPI, subtests: pytest.Subtests
) -> None:
    looked_at = 0
    async with installation.running_auth(), installation.running_catalog(), installation.gateway() as http:
        person = await registered(http)
        ghost = {"metadata": {"name": PLACES["name"]}, "spec": {"systemPrompt": "You help."}}
        made = await http.post("/api/v1/kinds/ghosts", json=ghost, headers=person.headers)
        assert made.status_code == 201, made.text
        for method, path in _bodies(app):
            if f"{method} {path}" in OTHERWISE:
                continue
            looked_at += 1
            with subtests.test(f"{method} {path}"):
                answer = await http.request(method, _at(path), json={SURPLUS: 1}, headers=person.headers)
                assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
                assert answer.json()["errors"][0]["field"] == SURPLUS
    assert looked_at > 60


async def test_an_unknown_parameter_is_refused_by_every_route(
    installation: Installation, app: FastAPI, subtests: pytest.Subtests
) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        person = await registered(http)
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                if "422" not in operation["responses"] or path.startswith(ANY_QUERY):
                    continue
                with subtests.test(f"{method.upper()} {path}"):
                    answer = await http.request(
                        method, _at(path), params={"limt": "3"}, headers=person.headers
                    )
                    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
                    names = {each["name"] for each in operation.get("parameters", ())}
                    meant = "limit" in names
                    assert ("Did you mean limit?" in answer.json()["detail"]) is meant


async def test_strangers_are_told_first_that_they_are_strangers(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        for path in ("/api/v1/auth/tokens", "/api/v1/projects", f"/api/v1/users/{uuid.uuid4()}"):
            method = "PATCH" if "users" in path else "POST"
            answer = await http.request(method, path, json={SURPLUS: 1})
            assert answer.status_code == 401


@pytest.fixture
async def scene(installation: Installation) -> Any:
    async with installation.running_auth(), installation.running_catalog(), installation.gateway() as http:
        yield http, await registered(http)


async def test_a_misspelt_end_makes_no_token_that_never_ends(scene: tuple[Http, Person]) -> None:
    http, person = scene
    wish = {"name": "short-lived", "expiresInDays": 1}
    answer = await http.post("/api/v1/auth/tokens", json=wish, headers=person.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert answer.json()["errors"] == [
        {
            "field": "expiresInDays",
            "message": "There is no such field. Did you mean expiresAt?",
            "code": "unknown_field",
        }
    ]
    listed = await http.get("/api/v1/auth/tokens", headers=person.headers)
    assert listed.json()["items"] == []


MISSPELT: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "in a part": (
        "/api/v1/tasks",
        {"title": "t", "exec": {"script": "true", "envs": {"A": "b"}}},
        "exec.envs",
        "env",
    ),
    "in a list": ("/api/v1/tasks/bulk", {"tasks": [{"title": "t", "noop": {}, "prio": "high"}]},
                  "tasks.0.prio", "priority"),
    "in one of several forms": (
        f"/api/v1/repositories/{uuid.uuid4()}/operations",
        {"type": "tag", "nam": "v1"},
        "nam",
        "name",
    ),
    "a form or nothing": (
        "/api/v1/tasks",
        {"title": "t", "noop": {}, "pullRequest": {"titel": "t"}},
        "pullRequest.titel",
        "title",
    ),
    "in another case": ("/api/v1/auth/tokens", {"name": "t", "ExpiresAt": None}, "ExpiresAt", "expiresAt"),
}  # fmt: skip


async def test_the_nearest_name_is_told_however_deep(
    scene: tuple[Http, Person], subtests: pytest.Subtests
) -> None:
    http, person = scene
    for name, (path, body, field, nearest) in MISSPELT.items():
        with subtests.test(name):
            answer = await http.post(path, json=body, headers=person.headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
            assert [error["field"] for error in answer.json()["errors"]] == [field]
            assert answer.json()["detail"].endswith(f"Did you mean {nearest}?")


async def test_many_and_long_names_cost_little(scene: tuple[Http, Person]) -> None:
    http, person = scene
    body = {f"{number}{'x' * 100}": number for number in range(3_000)} | {"y" * 100_000: 1}
    answer = await http.post("/api/v1/auth/tokens", json=body, headers=person.headers)
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


async def test_what_other_clients_send_along_is_taken(scene: tuple[Http, Person]) -> None:
    """OAuth2 clients name themselves, in forms and in JSON."""
    http, person = scene
    given = {"username": person.username, "password": PASSWORD}
    oauth = {"grant_type": "password", "scope": "", "client_id": "cli", "client_secret": "x"}
    for sent in ({"json": given | oauth}, {"data": given | oauth}):
        answer = await http.post("/api/v1/auth/login?cookie=false", **sent)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
    device = {"client_id": "cli", "scope": "all"}
    assert (await http.post("/api/v1/auth/device/code", json=device)).status_code == 200
    asked = {"client_id": "cli", "audience": "https://example.com"}
    assert (await http.post("/api/v1/auth/device/code", data=asked)).status_code == 200


# -- resources -----------------------------------------------------------------------------------------

GHOST = """\
apiVersion: signalbox.dev/v1
kind: Ghost
metadata:
  name: helper
  labells: {team: a}
spec:
  systemPrompt: You help.
"""


async def test_metadata_and_documents_know_their_fields(
    scene: tuple[Http, Person], subtests: pytest.Subtests
) -> None:
    http, person = scene
    ghosts = "/api/v1/kinds/ghosts"
    good = {"metadata": {"name": "helper"}, "spec": {"systemPrompt": "You help."}}
    made = await http.post(ghosts, json=good, headers=person.headers)
    assert made.status_code == 201, made.text
    again = await http.put(f"{ghosts}/helper", json=made.json(), headers=person.headers)
    assert again.status_code == 200, "what was read may be sent again"
    bad = {"metadata": {"name": "helper", "anotations": {"a": "b"}}, "spec": good["spec"]}
    patch = {"metadata": {"anotations": {"a": "b"}}}
    for method, path, body in (
        ("POST", ghosts, bad),
        ("PUT", f"{ghosts}/helper", bad),
        ("PATCH", f"{ghosts}/helper", patch),
    ):
        with subtests.test(method):
            answer = await http.request(method, path, json=body, headers=person.headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
            assert answer.json()["errors"][0]["field"] == "metadata.anotations"
            assert answer.json()["detail"].endswith("Did you mean annotations?")
    answer = await _applied(http, person, GHOST)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    error = answer.json()["errors"][0]
    assert (error["field"], error["document"], error["line"]) == ("metadata.labells", 1, 5)
    answer = await _applied(
        http, person, GHOST.replace("  labells: {team: a}\n", "").replace("spec:", "spek:")
    )
    assert answer.json()["errors"][0]["message"] == "There is no such field. Did you mean spec?"


BOT = """\
apiVersion: signalbox.dev/v1
kind: Ghost
metadata: {name: typing}
spec:
  systemPrompt: You type.
  mcpServer:
    gh: {command: docker}
---
apiVersion: signalbox.dev/v1
kind: Team
metadata: {name: team}
spec:
  members: []
  colaborationModel: solo
  collaborationModel: solo
"""


async def test_a_spec_keeps_what_is_unknown_and_warns_with_the_line(scene: tuple[Http, Person]) -> None:
    http, person = scene
    applied = await _applied(http, person, BOT)
    assert applied.status_code == 200, applied.text
    told = [warning for item in applied.json()["items"] for warning in item["warnings"]]
    assert [(each["field"], each["line"]) for each in told] == [
        ("spec.mcpServer", 6),
        ("spec.colaborationModel", 14),
    ]
    assert told[0]["message"].endswith("Did you mean mcpServers?")
    kept = await http.get("/api/v1/kinds/ghosts/typing", headers=person.headers)
    assert kept.json()["spec"]["mcpServer"] == {"gh": {"command": "docker"}}

    refused = await _applied(http, person, BOT.replace("typing", "strict"), strict="true")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")
    assert [each["line"] for each in refused.json()["errors"]] == [6, 14]
    assert (await http.get("/api/v1/kinds/ghosts/strict", headers=person.headers)).status_code == 404


async def test_what_is_written_alone_is_warned_about_too(scene: tuple[Http, Person]) -> None:
    http, person = scene
    ghosts = "/api/v1/kinds/ghosts"
    body = {"metadata": {"name": "alone"}, "spec": {"systemPrompt": "You help.", "skils": ["lint"]}}
    strict = await http.post(ghosts, json=body, params={"strict": "true"}, headers=person.headers)
    assert (strict.status_code, strict.json()["code"]) == (422, "unknown_field")
    made = await http.post(ghosts, json=body, headers=person.headers)
    assert made.status_code == 201, made.text
    warning = {
        "field": "spec.skils",
        "message": "There is no such field. Did you mean skills?",
        "code": "unknown_field",
    }
    assert [{name: each[name] for name in warning} for each in made.json()["warnings"]] == [warning]
    read = await http.get(f"{ghosts}/alone", headers=person.headers)
    assert "warnings" not in read.json()
    again = await http.put(f"{ghosts}/alone", json=made.json(), headers=person.headers)
    assert again.status_code == 200, again.text
    patch: dict[str, Any] = {"spec": {"skils": None}}
    mended = await http.patch(f"{ghosts}/alone", json=patch, headers=person.headers)
    assert mended.status_code == 200
    assert "warnings" not in mended.json()


async def test_documents_from_elsewhere_are_warned_about_only(scene: tuple[Http, Person]) -> None:
    http, person = scene
    theirs = GHOST.replace("signalbox.dev/v1", "agent.wecode.io/v1")
    applied = await _applied(http, person, theirs)
    assert applied.status_code == 200, applied.text
    assert [each["field"] for each in applied.json()["items"][0]["warnings"]] == ["metadata.labells"]
    assert (await _applied(http, person, theirs, strict="true")).status_code == 422


async def test_short_forms_are_no_mistakes(scene: tuple[Http, Person]) -> None:
    http, person = scene
    documents = """\
apiVersion: signalbox.dev/v1
kind: Model
metadata: {name: gpt-4}
spec: {provider: openai, model: gpt-4, temperature: 0.7, maxTokens: 2000}
---
apiVersion: signalbox.dev/v1
kind: Shell
metadata: {name: chat}
spec: {type: Chat, description: talks}
"""
    applied = await _applied(http, person, documents, strict="true")
    assert applied.status_code == 200, applied.text


async def _applied(http: Http, person: Person, text: str, **query: str) -> Any:
    media = {"Content-Type": "application/yaml"}
    return await http.post("/api/v1/apply", content=text, params=query, headers=person.headers | media)
