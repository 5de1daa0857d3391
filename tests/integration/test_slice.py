"""The first slice: register, log in, create, list, get."""

import asyncio
import uuid

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import PASSWORD, Installation


@pytest.mark.fresh
async def test_from_register_to_project_and_its_event(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        body = {"username": "developer", "email": "dev@example.com", "password": PASSWORD}
        registered = await http.post("/api/v1/auth/register", json=body)
        assert registered.status_code == 201
        assert set(registered.json()) == {
            *("id", "username", "email", "emailConfirmed", "displayName", "role", "createdAt")
        }
        session = await http.post(
            "/api/v1/auth/login", json={"email": "DEV@example.com", "password": PASSWORD}
        )
        assert session.json()["tokenType"] == "bearer"
        assert session.json()["expiresIn"] == 900
        me = {"Authorization": f"Bearer {session.json()['accessToken']}"}
        assert (await http.get("/api/v1/auth/me", headers=me)).json() == registered.json()

        created = await http.post("/api/v1/projects", json={"name": "Größe & Co"}, headers=me)
        assert created.status_code == 201
        assert created.headers["X-Operation-ID"].startswith("op_")
        project = created.json()
        assert (
            project["slug"] == "groe-co" or project["slug"] == "gro-e-co" or project["slug"].startswith("gro")
        )
        assert project["role"] == "owner"
        listed = await http.get("/api/v1/projects", headers=me)
        items = listed.json()["items"]
        assert items[0] == project
        assert [item["personal"] for item in items] == [False, True]
        assert items[1]["slug"] == "developer"
        assert (await http.get(f"/api/v1/projects/{project['id']}", headers=me)).json() == project

        operation = await http.get(f"/api/v1/operations/{created.headers['X-Operation-ID']}", headers=me)
        assert operation.json()["status"] == "succeeded"
        assert operation.json()["resource"] == project["id"]
        assert operation.json()["command"] == "auth.create-project"

        events = await eventually(lambda: installation.messages("EVENTS", f"evt.{project['id']}.>"))
        headers = events[0].headers
        assert headers["ce-type"] == "auth.project.created"
        assert headers["ce-operation"] == created.headers["X-Operation-ID"]
        assert headers["ce-actorid"] == registered.json()["id"]
        assert headers["ce-correlationid"] == created.headers["X-Correlation-ID"]
        assert headers["Nats-Msg-Id"] == f"auth:{headers['ce-id']}"
        assert "traceparent" in headers
        assert "Signalbox-Grant" not in headers


async def test_others_see_nothing_of_a_project(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        mine, theirs = await http.sign_up(), await http.sign_up()
        created = await http.post("/api/v1/projects", json={"name": "Mine"}, headers=mine)
        there = await http.get(f"/api/v1/projects/{created.json()['id']}", headers=theirs)
        missing = await http.get(f"/api/v1/projects/{uuid.uuid4()}", headers=theirs)
        assert there.status_code == missing.status_code == 404
        assert _without_ids(there.json()) == _without_ids(missing.json())
        operation = await http.get(f"/api/v1/operations/{created.headers['X-Operation-ID']}", headers=theirs)
        assert operation.status_code == 404
        listed = (await http.get("/api/v1/projects", headers=theirs)).json()["items"]
        assert [item["personal"] for item in listed] == [True]


async def test_slugs_are_unique_and_names_need_not_be(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        answers = await asyncio.gather(
            *(http.post("/api/v1/projects", json={"name": "Same"}, headers=me) for _ in range(8))
        )
        slugs = [answer.json()["slug"] for answer in answers]
        assert len(set(slugs)) == 8
        assert sum(slug == "same" for slug in slugs) == 1
        taken = await http.post("/api/v1/projects", json={"name": "x", "slug": "same"}, headers=me)
        assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")
        assert taken.json()["errors"][0]["field"] == "slug"
        reserved = await http.post("/api/v1/projects", json={"name": "x", "slug": "default"}, headers=me)
        assert reserved.status_code == 422


async def test_pages_and_search(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        for number in range(5):
            await http.post("/api/v1/projects", json={"name": f"Project {number}"}, headers=me)
        seen: list[str] = []
        cursor: str | None = None
        while True:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await http.get("/api/v1/projects", params=params, headers=me)).json()
            seen += [item["name"] for item in page["items"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen[:5] == [f"Project {number}" for number in (4, 3, 2, 1, 0)]
        assert len(seen) == 6  # and one's own
        found = await http.get("/api/v1/projects", params={"q": "ject 3"}, headers=me)
        assert [item["name"] for item in found.json()["items"]] == ["Project 3"]
        nothing = await http.get("/api/v1/projects", params={"q": "100%"}, headers=me)
        assert nothing.json()["items"] == []
        bad = await http.get("/api/v1/projects", params={"cursor": "nonsense"}, headers=me)
        assert bad.status_code == 422


@pytest.mark.fresh
async def test_names_are_taken_once(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        body = {"username": "Developer", "email": "dev@example.com", "password": PASSWORD}
        answers = await asyncio.gather(*(http.post("/api/v1/auth/register", json=body) for _ in range(6)))
        assert sorted(a.status_code for a in answers) == [201, 409, 409, 409, 409, 409]
        again = await http.post("/api/v1/auth/register", json=body | {"username": "dEVELOPER"})
        assert (again.status_code, again.json()["code"]) == (409, "username_taken")
        mail = await http.post("/api/v1/auth/register", json=body | {"username": "another"})
        assert mail.status_code == 201, "an address is what somebody says"
        wrong = await http.post("/api/v1/auth/login", json={"username": "developer", "password": "x"})
        nobody = await http.post("/api/v1/auth/login", json={"username": "nobody", "password": "x"})
        assert (wrong.status_code, nobody.status_code) == (401, 401)
        assert _without_ids(wrong.json()) == _without_ids(nobody.json())
        form = await http.post("/api/v1/auth/login", data={"username": "developer", "password": PASSWORD})
        assert form.status_code == 200


@pytest.mark.fresh
async def test_a_repeated_registration_under_one_key_is_told_so(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        body = {"username": "developer", "email": "dev@example.com", "password": PASSWORD}
        key = {"Idempotency-Key": "register-1"}
        first = await http.post("/api/v1/auth/register", json=body, headers=key)
        assert first.status_code == 201
        again = await http.post("/api/v1/auth/register", json=body, headers=key)
        assert (again.status_code, again.json()["code"]) == (409, "already_done")
        assert again.json()["resource"] == first.json()["id"]
        other = await http.post("/api/v1/auth/register", json=body | {"username": "other"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.fresh
async def test_without_the_owner_the_answer_comes_at_once(installation: Installation) -> None:
    async with installation.gateway() as http:
        body = {"username": "developer", "email": "dev@example.com", "password": PASSWORD}
        answer = await http.post("/api/v1/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] == "1"


def _without_ids(problem: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in problem.items() if key != "correlationId"}
