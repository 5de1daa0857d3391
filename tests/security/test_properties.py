"""Nobody sets what is not theirs to set, reads what is not meant to be read, or breaks anything by trying."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from signalbox_common.keys import uuid7
from signalbox_gateway.app import build
from signalbox_gateway.routes.devices import GRANT_TYPE
from signalbox_gateway.settings import GatewaySettings
from tests.support.factories import Person, bearer, registered, signed_in
from tests.support.installation import ADMIN_PASSWORD, PASSWORD, Http, Installation

pytestmark = pytest.mark.fresh  # its people have the same names in each test

REGISTER, ME, TOKENS = "/api/v1/auth/register", "/api/v1/auth/me", "/api/v1/auth/tokens"
JSON = {"Content-Type": "application/json"}
LONG_AGO = "2001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Scene:
    """Somebody with a project, and an administrator."""

    installation: Installation
    http: Http
    person: Person
    admin: Person
    project: str

    async def row(self, table: str, identifier: str) -> dict[str, Any]:
        """What is stored, as the database's administrator sees it."""
        async with self.installation.sql() as connection:
            return dict(await connection.fetchrow(f"select * from auth.{table} where id = $1", identifier))


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(admin=True),
        installation.gateway() as http,
    ):
        person = await registered(http, "developer")
        admin = await signed_in(http, "admin", ADMIN_PASSWORD)
        project = await http.project(person.headers, "Mine")
        yield Scene(installation, http, person, admin, project)


WISHES: dict[str, Any] = {
    "id": str(uuid7()),
    "kind": "service",
    "isAdmin": True,
    "admin": True,
    "active": False,
    "createdAt": LONG_AGO,
    "updatedAt": LONG_AGO,
    "deletedAt": LONG_AGO,
    "deactivatedAt": LONG_AGO,
    "created_by": str(uuid7()),
    "ownerId": str(uuid7()),
    "userId": str(uuid7()),
    "projectId": str(uuid7()),
    "personal": True,
    "personal_of": str(uuid7()),
    "version": 99,
    "expectedVersion": 1,
    "passwordHash": "$2b$04$" + "a" * 53,
    "password_hash": "$2b$04$" + "a" * 53,
    "emailVerified": True,
    "usernameFolded": "admin",
    "session_id": str(uuid7()),
    "hint": "0000",
    "__proto__": {"role": "admin"},
}
"""What somebody might try to set along with what they may."""
RANK = {"role": "admin", "scopes": ["*"]}


async def test_registering_sets_four_things(scene: Scene) -> None:
    body = {"username": "wisher", "email": "wisher@example.com", "password": PASSWORD}
    answer = await _sent(scene, "POST", REGISTER, WISHES | RANK, body, {})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert set(made) == {"id", "username", "email", "emailConfirmed", "displayName", "role", "createdAt"}
    assert (made["role"], made["displayName"], made["emailConfirmed"]) == ("user", "wisher", False)
    assert made["id"] != WISHES["id"]
    stored = await scene.row("users", made["id"])
    assert (stored["kind"], stored["version"], stored["deactivated_at"]) == ("person", 1, None)
    assert stored["username_folded"] == "wisher"
    assert stored["created_at"].year > 2001
    assert (await signed_in(scene.http, "wisher")).id == made["id"], "the password is the given one"


async def test_changing_oneself_sets_two_things(scene: Scene) -> None:
    before = await scene.row("users", scene.person.id)
    nothing = await scene.http.patch(ME, json={}, headers=scene.person.headers)
    assert (nothing.status_code, nothing.json()["code"]) == (422, "nothing_to_change")
    wishes = WISHES | RANK | {"username": "admin2"}
    changes = {"displayName": "Dev", "email": "new@example.com", "currentPassword": PASSWORD}
    changed = await _sent(scene, "PATCH", ME, wishes, changes, scene.person.headers)
    assert changed.status_code == 200, changed.text
    after = await scene.row("users", scene.person.id)
    assert _differing(before, after) == {"display_name", "email", "email_folded"}


async def test_changing_a_user_sets_four_things(scene: Scene) -> None:
    path = f"/api/v1/users/{scene.person.id}"
    before = await scene.row("users", scene.person.id)
    changes = {"email": "new@example.com", "displayName": "Dev", "role": "admin", "active": True}
    wishes = WISHES | {"username": "admin2"}
    changed = await _sent(scene, "PATCH", path, wishes, changes, scene.admin.headers)
    assert changed.status_code == 200, changed.text
    after = await scene.row("users", scene.person.id)
    sets = {"display_name", "email", "email_folded", "email_confirmed", "role", "version"}
    assert _differing(before, after) == sets
    assert after["version"] == before["version"] + 1


async def test_a_project_has_three_things_to_set_and_two_to_change(scene: Scene) -> None:
    wishes = WISHES | RANK
    body = {"name": "Wish", "slug": "wish", "description": "d"}
    made = await _sent(scene, "POST", "/api/v1/projects", wishes, body, scene.person.headers)
    assert made.status_code == 201, made.text
    project = made.json()
    assert (project["role"], project["personal"], project["slug"]) == ("owner", False, "wish")
    assert project["id"] != wishes["id"]
    before = await scene.row("projects", project["id"])
    assert (str(before["created_by"]), before["personal_of"]) == (scene.person.id, None)
    assert before["created_at"].year > 2001
    path = f"/api/v1/projects/{project['id']}"
    changes = {"name": "Other", "description": ""}
    changed = await _sent(scene, "PATCH", path, wishes | {"slug": "admin"}, changes, scene.person.headers)
    assert changed.status_code == 200, changed.text
    after = await scene.row("projects", project["id"])
    assert _differing(before, after) == {"name", "description", "updated_at"}
    assert after["updated_at"] > before["updated_at"]


async def test_a_member_has_a_role_in_the_project_of_the_path(scene: Scene) -> None:
    newcomer = await registered(scene.http)
    elsewhere = await scene.http.project(scene.admin.headers, "Elsewhere")
    wishes = WISHES | {"projectId": elsewhere, "project": elsewhere, "kind": "service", "addedAt": LONG_AGO}
    members = f"/api/v1/projects/{scene.project}/members"
    owner = scene.person.headers
    body = {"userId": newcomer.id, "role": "developer"}
    added = await _sent(scene, "POST", members, wishes, body, owner)
    assert added.status_code == 201, added.text
    member = added.json()
    assert (member["userId"], member["role"], member["kind"]) == (newcomer.id, "developer", "person")
    assert not member["addedAt"].startswith("2001")
    theirs = await scene.http.get(f"/api/v1/projects/{elsewhere}/members", headers=scene.admin.headers)
    assert [item["username"] for item in theirs.json()["items"]] == ["admin"]
    for role in ("admin", "root", "OWNER", "", None, ["owner"], {"owner": True}):
        refused = await scene.http.patch(f"{members}/{newcomer.id}", json={"role": role}, headers=owner)
        assert refused.status_code == 422, role
    wishes |= {"userId": scene.admin.id}
    changed = await _sent(scene, "PATCH", f"{members}/{newcomer.id}", wishes, {"role": "viewer"}, owner)
    assert (changed.json()["userId"], changed.json()["role"]) == (newcomer.id, "viewer")


async def test_a_service_account_and_a_token_belong_to_whom_the_path_says(scene: Scene) -> None:
    accounts = f"/api/v1/projects/{scene.project}/service-accounts"
    owner = scene.person.headers
    body = {"name": "robot", "role": "viewer"}
    made = await _sent(scene, "POST", accounts, WISHES | {"username": "admin3"}, body, owner)
    assert made.status_code == 201, made.text
    stored = await scene.row("users", made.json()["id"])
    assert (stored["kind"], stored["role"], stored["email"]) == ("service", "user", None)
    assert stored["username"].startswith("sa-mine-robot-")
    for path in (TOKENS, f"{accounts}/{made.json()['id']}/tokens"):
        wishes = WISHES | {"token": "sbx_pat_mine", "accountId": scene.person.id}
        token = await _sent(scene, "POST", path, wishes, {"name": "t"}, owner)
        assert token.status_code == 201, token.text
        assert token.json()["id"] != WISHES["id"]
        assert token.json()["hint"] == token.json()["token"][-4:]
        holder = (await scene.http.me(bearer(token.json()["token"])))["id"]
        assert holder == (scene.person.id if path == TOKENS else made.json()["id"])


async def _sent(
    scene: Scene,
    method: str,
    path: str,
    wishes: dict[str, Any],
    body: dict[str, Any],
    headers: dict[str, str],
) -> httpx.Response:
    """Each wish is refused, alone beside what is allowed; and so what is answered is of the rest."""
    for name in wishes.keys() - body.keys():
        wished = {name: wishes[name]} | body
        refused = await scene.http.request(method, path, json=wished, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field"), refused.text
    return await scene.http.request(method, path, json=body, headers=headers)


def _differing(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


# -- what is shown -------------------------------------------------------------------------------------

SECRET_WORDS = ("password", "hash", "secret", "sealed", "private", "folded")
SHOWN = {"AuditEntry.hash", "NotificationKey.secret", "TriggerKey.secret"}
"""The seal of a line of the audit log is there to be compared; what is sent to a trigger is signed with the
other, which is shown once."""


def test_no_answer_has_a_place_for_a_secret() -> None:
    """Answers are made from these schemas; that they say no more than those, the matrix checks."""
    document = build(GatewaySettings()).openapi()
    answers = [
        media.get("schema", {})
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        for media in answer.get("content", {}).values()
        if status < "400"
    ]
    named = {name for schema in answers for name in _named(document["components"]["schemas"], schema)}
    assert len(named) > 10
    found = {
        f"{name}.{shown}"
        for name in named
        for shown in document["components"]["schemas"][name].get("properties", {})
        if any(word in shown.lower() for word in SECRET_WORDS)
    }
    assert found == SHOWN


def _named(schemas: dict[str, Any], schema: Any, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names of all schemas that one is made of; some are made of themselves, too."""
    if isinstance(schema, list):
        for item in schema:
            yield from _named(schemas, item, known)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in known:
                yield name
                yield from _named(schemas, schemas[name], known | {name})
        else:
            yield from _named(schemas, list(schema.values()), known)


# -- what does not fit ---------------------------------------------------------------------------------

DEEP: Any = "x"
for _ in range(100):
    DEEP = [DEEP]

SECRETS = ("assword", "Token", "token")
UNFIT: dict[str, Any] = {
    "a number": 7,
    "a fraction": 1.5,
    "a truth": True,
    "a list": ["x"],
    "an object": {"x": "y"},
    "a hundred lists": DEEP,
    "a NUL": "good enough\x00",
    "half a character": "good enough \ud800",
    "too much": "x" * 100_000,
}


def _fields(scene: Scene) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Every field of text that somebody may send: the route, a body that would be good, and the field."""
    project = f"/api/v1/projects/{scene.project}"
    user = {"username": "fits", "email": "fits@example.com", "password": PASSWORD, "displayName": "F"}
    passwords = {"currentPassword": PASSWORD, "newPassword": PASSWORD + "!"}
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"POST {REGISTER}", user),
        ("POST /api/v1/auth/admin/register", user | {"role": "user"}),
        ("POST /api/v1/auth/login", {"username": "developer", "password": PASSWORD}),
        ("POST /api/v1/auth/refresh", {"refreshToken": scene.person.refresh_token}),
        ("POST /api/v1/auth/device/code", {"client_name": "laptop"}),
        ("POST /api/v1/auth/device/token", {"device_code": "sbx_dev_x", "grant_type": GRANT_TYPE}),
        ("POST /api/v1/auth/device/decision", {"userCode": "BCDF-GHJK"}),
        (f"PATCH {ME}", {"email": "o@example.com", "displayName": "D", "currentPassword": PASSWORD}),
        ("POST /api/v1/auth/password/forgot", {"email": "other@example.com"}),
        ("POST /api/v1/auth/password/reset", {"token": "none", "newPassword": PASSWORD + "!"}),
        ("POST /api/v1/auth/email/confirm", {"token": "none"}),
        ("POST /api/v1/users/invitations", {"email": "other@example.com"}),
        ("POST /api/v1/auth/password", passwords),
        (f"POST {TOKENS}", {"name": "t", "scopes": ["*"]}),
        (f"PATCH /api/v1/users/{scene.person.id}", {"email": "o@example.com", "role": "user"}),
        ("POST /api/v1/projects", {"name": "P", "slug": "p", "description": "d"}),
        (f"PATCH {project}", {"name": "P", "description": "d"}),
        (f"POST {project}/members", {"username": "admin", "role": "viewer"}),
        (f"POST {project}/members", {"userId": scene.admin.id}),
        (f"POST {project}/service-accounts", {"name": "robot", "role": "viewer"}),
    )
    for route, body in bodies:
        method, path = route.split(" ")
        for name in body:
            yield method, path, body, name


async def test_what_does_not_fit_is_refused_clearly(scene: Scene, subtests: pytest.Subtests) -> None:
    for method, path, body, name in _fields(scene):
        headers = scene.admin.headers if "/users/" in path or "/admin/" in path else scene.person.headers
        for what, unfit in UNFIT.items():
            if (name, what) == ("scopes", "a list") or (what == "a NUL" and name.endswith(SECRETS)):
                continue  # which is what it takes: a secret may be any text
            with subtests.test(f"{method} {path}", field=name, value=what):
                content = json.dumps(body | {name: unfit}).encode()
                answer = await scene.http.request(method, path, content=content, headers=headers | JSON)
                assert answer.status_code in (400, 413, 422), answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert "good enough" not in answer.text, "what was refused is not repeated"
    assert await scene.installation.count("auth.users") == 2
    assert await scene.installation.count("auth.projects") == 3


TIMES = (
    "9999-12-31T23:59:59.999999-23:59",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T00:00:00Z",
    "1e400",
    "-1",
    "99999999999999999999",
    "2030-02-30T00:00:00Z",
    "2030-01-01T00:00:00",
    "now",
)


async def test_times_at_the_edge_of_time_break_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    for time in TIMES:
        with subtests.test("the end of a token", time=time):
            body = {"name": "t", "expiresAt": time}
            answer = await scene.http.post(TOKENS, json=body, headers=scene.person.headers)
            assert answer.status_code in (201, 422), answer.text
        for name in ("since", "until"):
            with subtests.test("the audit log", name=name, time=time):
                answer = await scene.http.get(
                    "/api/v1/audit", params={name: time}, headers=scene.admin.headers
                )
                assert answer.status_code in (200, 422), answer.text


async def test_queries_that_do_not_fit_break_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    odd = ("", "\x00", "-1", "0", "9" * 30, "1e3", "NaN", "AAAA", "=", "%00", "ÿ" * 300, "'--", "null", "[]")
    project = f"/api/v1/projects/{scene.project}"
    for path, names in (
        ("/api/v1/projects", ("limit", "cursor", "q", "deleted")),
        ("/api/v1/users", ("limit", "cursor", "q", "active")),
        ("/api/v1/audit", ("limit", "cursor", "actor", "action", "outcome", "resource", "project", "format")),
        (f"{project}/members", ("limit", "cursor")),
        (f"{project}/audit", ("limit", "cursor", "since")),
        ("/api/v1/info", ("projectId",)),
        ("/api/v1/auth/device", ("userCode",)),
    ):
        headers = scene.person.headers if project in path else scene.admin.headers
        for name in names:
            for value in odd:
                with subtests.test(path, name=name, value=value[:9]):
                    answer = await scene.http.get(path, params={name: value}, headers=headers)
                    assert answer.status_code in (200, 404, 422), answer.text


async def test_a_hash_from_another_system_is_one_that_can_be_checked(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """And in a time that others can wait for: whoever signs in takes one of few turns."""
    salt = "c29tZXNhbHRzb21lc2FsdA"
    digest = "JGeySRz0oVd1cBdXhRvp9BeKLCdbdHIAO+k5RX+Vj2M"
    unfit = {
        "NUL": "$2b$04$" + "\x00" * 53,
        "not of its alphabet": "$2b$04$" + "!" * 53,
        "not ASCII": "$2b$04$" + "é" * 53,
        "2^31 rounds": "$2b$31$" + "a" * 53,
        "2^99 rounds": "$2b$99$" + "a" * 53,
        "4 TB of memory": f"$argon2id$v=19$m=4294967295,t=2,p=1${salt}${digest}",
        "days of work": f"$argon2id$v=19$m=64,t=4294967295,p=1${salt}${digest}",
        "no parameters": f"$argon2id$v=19$x${salt}${digest}",
        "no digest": f"$argon2id$v=19$m=64,t=1,p=1${salt}$",
        "plain text": "correct horse battery staple",
        "md5": "5f4dcc3b5aa765d61d8327deb882cf99",
    }
    for number, (name, given) in enumerate(unfit.items()):
        with subtests.test(name):
            body = {"username": f"moved{number}", "email": f"m{number}@example.com", "passwordHash": given}
            answer = await scene.http.post(
                "/api/v1/auth/admin/register", json=body, headers=scene.admin.headers
            )
            assert answer.status_code == 422, answer.text
            assert given not in answer.text
