"""Bad input gets a problem with a stable code, never a 500."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.installation import PASSWORD, Http, Installation

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def http(installation: Installation) -> AsyncIterator[Http]:
    async with installation.running_auth(), installation.gateway() as client:
        yield client


@dataclass
class Case:
    name: str
    method: str
    path: str
    expected: tuple[int, str]
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


REGISTER = "/api/v1/auth/register"
PROJECTS = "/api/v1/projects"


def _register(**changes: Any) -> bytes:
    body = {"username": "developer", "email": "dev@example.com", "password": PASSWORD} | changes
    return json.dumps(body).encode()


CASES = [
    Case("unknown route", "GET", "/api/v1/nothing", (404, "route_not_found")),
    Case("unknown root", "GET", "/%00", (404, "route_not_found")),
    Case("odd path bytes", "GET", "/%ff%fe", (404, "route_not_found")),
    Case("wrong method", "DELETE", PROJECTS, (405, "method_not_allowed")),
    Case("invalid JSON", "POST", REGISTER, (400, "invalid_json"), b"{nope"),
    Case("empty body", "POST", REGISTER, (422, "validation_failed"), b""),
    Case("JSON of another kind", "POST", REGISTER, (422, "validation_failed"), b"[1, 2]"),
    Case("null", "POST", REGISTER, (422, "validation_failed"), b"null"),
    Case("number", "POST", REGISTER, (422, "validation_failed"), b"7"),
    Case("wrong type", "POST", REGISTER, (422, "validation_failed"), _register(username=7)),
    Case("missing field", "POST", REGISTER, (422, "validation_failed"), b'{"username": "dev"}'),
    Case("short password", "POST", REGISTER, (422, "validation_failed"), _register(password="short")),
    Case("not an address", "POST", REGISTER, (422, "validation_failed"), _register(email="nobody")),
    Case("NUL in text", "POST", REGISTER, (422, "validation_failed"), _register(displayName="a\x00b")),
    Case("lone surrogate", "POST", REGISTER, (422, "validation_failed"), _register(displayName="\ud800")),
    Case("UTF-16", "POST", REGISTER, (400, "invalid_json"), _register().decode().encode("utf-16")),
    Case("latin-1", "POST", REGISTER, (400, "invalid_json"), b'{"username": "d\xe9v"}'),
    Case("deep nesting", "POST", REGISTER, (400, "invalid_json"), b"[" * 100_000),
    Case(
        "deep nesting inside",
        "POST",
        REGISTER,
        (400, "invalid_json"),
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ),
    Case("huge number", "POST", REGISTER, (422, "validation_failed"), b'{"username": 1e999}'),
    Case("huge integer", "POST", REGISTER, (400, "invalid_json"), b'{"username": ' + b"9" * 10_000 + b"}"),
    Case(
        "another media type",
        "POST",
        REGISTER,
        (415, "unsupported_media_type"),
        b"<x/>",
        {"Content-Type": "application/xml"},
    ),
    Case("no media type", "POST", REGISTER, (415, "unsupported_media_type"), _register(), {}),
    Case(
        "another charset",
        "POST",
        REGISTER,
        (415, "unsupported_media_type"),
        _register(),
        {"Content-Type": "application/json; charset=utf-16"},
    ),
    Case(
        "compressed",
        "POST",
        REGISTER,
        (415, "unsupported_media_type"),
        _register(),
        JSON | {"Content-Encoding": "gzip"},
    ),
    Case("too large", "POST", REGISTER, (413, "body_too_large"), b" " * (512 * 1024 + 1)),
    Case("login: invalid JSON", "POST", "/api/v1/auth/login", (400, "invalid_json"), b"{"),
    Case("login: no name", "POST", "/api/v1/auth/login", (422, "validation_failed"), b'{"password": "x"}'),
    Case(
        "login: NUL",
        "POST",
        "/api/v1/auth/login",
        (422, "validation_failed"),
        b'{"username":"\\u0000","password":"x"}',
    ),
    Case(
        "login: form without password",
        "POST",
        "/api/v1/auth/login",
        (422, "validation_failed"),
        b"username=a",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Case("no token", "GET", "/api/v1/auth/me", (401, "unauthenticated")),
    Case(
        "odd scheme",
        "GET",
        "/api/v1/auth/me",
        (401, "unauthenticated"),
        None,
        {"Authorization": "Basic eDp5"},
    ),
    Case(
        "odd token",
        "GET",
        "/api/v1/auth/me",
        (401, "unauthenticated"),
        None,
        {"Authorization": "Bearer \u00e9"},
    ),
    Case(
        "nonsense token",
        "GET",
        "/api/v1/auth/me",
        (401, "unauthenticated"),
        None,
        {"Authorization": "Bearer a.b.c"},
    ),
]


async def test_bad_input_is_a_problem(http: Http, subtests: pytest.Subtests) -> None:
    for case in CASES:
        with subtests.test(case.name):
            headers = {name.encode(): value.encode("latin-1") for name, value in case.headers.items()}
            answer = await http.request(case.method, case.path, content=case.content, headers=headers)
            problem = answer.json()
            assert (answer.status_code, problem.get("code")) == case.expected, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["status"] == answer.status_code
            assert problem["correlationId"] == answer.headers["X-Correlation-ID"]
            assert problem["type"] == f"urn:signalbox:problem:{problem['code']}"
            assert PASSWORD not in answer.text
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"


async def test_bad_input_of_somebody_who_is_known(http: Http) -> None:
    me = await http.sign_up()

    async def refused(expected: tuple[int, str], *arguments: Any, **more: Any) -> None:
        answer = await http.request(*arguments, headers=me | more.pop("headers", {}), **more)
        assert (answer.status_code, answer.json()["code"]) == expected, answer.text

    await refused((422, "validation_failed"), "GET", f"{PROJECTS}/not-a-uuid")
    await refused((422, "validation_failed"), "GET", PROJECTS, params={"limit": "0"})
    await refused((422, "validation_failed"), "GET", PROJECTS, params={"limit": "many"})
    await refused((422, "validation_failed"), "GET", PROJECTS, params={"q": "a\x00b"})
    await refused((422, "validation_failed"), "POST", PROJECTS, json={"name": "a\x00b"})
    await refused((422, "validation_failed"), "POST", PROJECTS, json={"name": ""})
    await refused((422, "validation_failed"), "POST", PROJECTS, json={"name": "x" * 201})
    await refused((422, "validation_failed"), "POST", PROJECTS, json={"name": "x", "slug": "Not A Slug"})
    await refused((404, "operation_not_found"), "GET", "/api/v1/operations/op_nonsense")
    await refused((404, "operation_not_found"), "GET", "/api/v1/operations/%00")
    for key in ("", "x" * 256, "caf\u00e9"):
        headers = {name.encode(): value.encode() for name, value in (me | {"Idempotency-Key": key}).items()}
        answer = await http.post(PROJECTS, json={"name": "x"}, headers=headers)
        assert answer.status_code == 422, (key, answer.text)


async def test_field_errors_name_the_field_and_not_the_value(http: Http) -> None:
    secret = "hunter2-hunter2"
    body = {"username": "!", "email": "x", "password": secret[:8]}
    answer = await http.post(REGISTER, json=body)
    assert {error["field"] for error in answer.json()["errors"]} == {"username", "email", "password"}
    assert secret[:8] not in answer.text


async def test_bodies_without_a_declared_length_are_bounded_too(http: Http) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield b" " * 4096

    answer = await http.post(REGISTER, content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_ids_are_taken_when_sound_and_minted_otherwise(http: Http) -> None:
    taken = await http.get("/health", headers={"X-Request-ID": "abc-1", "X-Correlation-ID": "trip.7"})
    assert (taken.headers["X-Request-ID"], taken.headers["X-Correlation-ID"]) == ("abc-1", "trip.7")
    minted = await http.get("/health", headers={"X-Request-ID": "a b\tc", "X-Correlation-ID": "x" * 500})
    assert len(minted.headers["X-Request-ID"]) == 36
    assert minted.headers["X-Correlation-ID"] == minted.headers["X-Request-ID"]


async def test_cors_is_for_configured_origins_only(http: Http) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    known = await http.request("OPTIONS", PROJECTS, headers=ask | {"Origin": "http://localhost:3000"})
    assert known.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert known.headers["access-control-allow-credentials"] == "true"
    foreign = await http.request("OPTIONS", PROJECTS, headers=ask | {"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


async def test_a_key_id_without_end_does_not_cut_the_gateway_off(http: Http) -> None:
    """It becomes part of a subject, and the server closes the connection on one that is too long."""

    def part(data: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    for kid in ("a" * 5000, "a" * 65, "a.b", "*", ">"):
        token = f"{part({'typ': 'at+jwt', 'alg': 'EdDSA', 'kid': kid})}.{part({})}.AA"
        answer = await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await http.sign_up())["Authorization"]


@pytest.mark.fresh
async def test_an_unexpected_error_of_the_database_shows_nothing_of_the_data(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    async with installation.running_auth(), installation.gateway() as client:
        async with installation.sql() as connection:
            await connection.execute("revoke insert on auth.users from signalbox_auth")
        body = {"username": "shown-nowhere", "email": "dev@example.com", "password": PASSWORD}
        failed = await client.post(REGISTER, json=body)
        assert (failed.status_code, failed.json()["code"]) == (500, "internal")
    out = capsys.readouterr().out
    assert "permission denied" in out
    for secret in ("shown-nowhere", "argon2", PASSWORD):
        assert secret not in out


async def test_a_page_ends_where_an_answer_would_be_too_large(http: Http) -> None:
    me = await http.sign_up()
    for number in range(50):
        project = {"name": f"Large {number}", "description": "\u65e5" * 4000}
        assert (await http.post(PROJECTS, json=project, headers=me)).status_code == 201
    seen: list[str] = []
    params = {"limit": "200"}
    while True:
        page = (await http.get(PROJECTS, params=params, headers=me)).json()
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        params["cursor"] = page["nextCursor"]
    assert len(seen) == len(set(seen)) == 51
    assert "cursor" in params, "it took more than one page"
