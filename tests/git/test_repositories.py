"""Repositories of a project, from their address to what is known of them."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.remotes import TOKEN, answering, new_repository
from tests.support.repositories import GitScene, git_scene


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found, found.service():
        yield found


async def test_it_is_fetched_when_it_is_added(scene: GitScene) -> None:
    added = await scene.add("first.git", setup=["make setup"])
    assert added["name"] == "first"
    assert (added["status"], added["hasCredential"], added["forge"]) == ("pending", True, "git")
    found = await scene.ready(added["id"])
    assert (found["defaultBranch"], found["setup"]) == ("main", ["make setup"])
    assert found["sizeBytes"] > 0
    assert found["fetchedAt"] is not None
    told = await scene.facts("repository.changed")
    assert {"repository": added["id"], "name": "first", "status": "ready", "reason": None} in told
    listed = await scene.ask("GET", params={"projectId": scene.project})
    assert added["id"] in [each["id"] for each in listed["items"]]
    everywhere = await scene.ask("GET")
    assert added["id"] in [each["id"] for each in everywhere["items"]]


async def test_its_remote_is_asked_and_says_why(scene: GitScene, tmp_path: Path) -> None:
    added = await scene.add("asked.git")
    said = await scene.ask("POST", f"/{added['id']}/test")
    assert said == {"ok": True, "reason": None, "detail": None, "defaultBranch": "main", "branches": 1}
    wrong = await scene.add("wrong.git", credential={"token": "not-this-one"})
    said = await scene.ask("POST", f"/{wrong['id']}/test")
    assert (said["ok"], said["reason"]) == (False, "unauthorized")
    failed = await scene.ready(wrong["id"], "failed")
    assert (failed["reason"], failed["detail"]) == ("unauthorized", "The credential is not taken.")
    await scene.ask("PATCH", f"/{wrong['id']}", json={"credential": {"token": TOKEN}})
    await scene.ready(wrong["id"])
    private = await scene.add(url="https://10.1.2.3/app.git", credential=None)
    assert (await scene.ready(private["id"], "failed"))["reason"] == "private_address"
    outside = await scene.add(url=str(new_repository(tmp_path / "outside.git")), credential=None)
    assert (await scene.ready(outside["id"], "failed"))["reason"] == "private_address"


async def test_a_repository_on_this_machine(scene: GitScene) -> None:
    path = new_repository(scene.folder / "repositories" / "local.git")
    added = await scene.add(url=str(path), credential=None)
    assert (await scene.ready(added["id"]))["defaultBranch"] == "main"


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ext::sh -c id"},
        {"url": "file:///etc"},
        {"url": "https://user:secret@host/a"},
        {"url": "--upload-pack=x"},
        {"url": "https://host/a", "name": "-x"},
        {"url": "https://host/a", "name": "a/b"},
        {"url": "https://host/a", "defaultBranch": "--all"},
        {"url": "https://host/a", "defaultBranch": "a..b"},
        {"url": "https://host/a", "credential": {}},
        {"url": "https://host/a", "credential": {"token": "a", "privateKey": "b"}},
        {"url": "https://host/a", "credential": {"token": "a\nb"}},
        {"url": "https://host/a", "credential": {"token": "a", "username": "a\nb"}},
        {"url": "https://host/a", "setup": ["x"] * 21},
        {"url": "https://host/a", "forge": "sourceforge"},
    ],
)
async def test_what_is_no_repository(scene: GitScene, body: dict[str, object]) -> None:
    refused = await scene.ask("POST", status=422, json={"projectId": scene.project} | body)
    assert "secret" not in json.dumps(refused)


async def test_each_name_and_each_address_once(scene: GitScene) -> None:
    added = await scene.add("once.git")
    for body in ({"name": "ONCE", "url": scene.remote.url("other.git")}, {"name": "b", "url": added["url"]}):
        refused = await scene.ask("POST", status=409, json={"projectId": scene.project} | body)
        assert refused["code"] == "repository_exists"
    await scene.ask("DELETE", f"/{added['id']}", status=204)
    again = await scene.add("once.git")
    assert again["id"] != added["id"]


async def test_the_same_key_adds_it_once(scene: GitScene) -> None:
    headers = scene.headers | {"Idempotency-Key": "one"}
    body = {"projectId": scene.project, "url": scene.remote.url("keyed.git"), "credential": {"token": TOKEN}}
    first = await scene.ask("POST", status=201, json=body, headers=headers)
    again = await scene.ask("POST", status=409, json=body, headers=headers)
    assert (again["code"], again["resource"]) == ("already_done", first["id"])
    other = body | {"credential": {"token": "another"}}
    reused = await scene.ask("POST", status=422, json=other, headers=headers)
    assert reused["code"] == "idempotency_key_reused"


async def test_another_host_is_not_shown_the_credential(scene: GitScene) -> None:
    added = await scene.add("moves.git")
    refused = await scene.ask(
        "PATCH", f"/{added['id']}", status=422, json={"url": "https://evil.example/moves.git"}
    )
    assert refused["code"] == "credential_needed"
    moved = await scene.ask(
        "PATCH",
        f"/{added['id']}",
        json={"url": "https://evil.example/moves.git", "removeCredential": True},
    )
    assert (moved["hasCredential"], moved["status"]) == (False, "pending")
    same = await scene.ask("PATCH", f"/{added['id']}", status=422, json={})
    assert same["code"] == "nothing_to_change"


async def test_a_new_address_is_another_mirror(scene: GitScene) -> None:
    added = await scene.add("before.git")
    await scene.ready(added["id"])
    scene.remote.new("after.git", {"after.txt": "x\n"})
    await scene.ask("PATCH", f"/{added['id']}", json={"url": scene.remote.url("after.git")})

    async def shows() -> bool:
        answer = await scene.http.get(f"/api/v1/repositories/{added['id']}/tree", headers=scene.headers)
        return answer.status_code == 200 and "after.txt" in answer.text and "README" not in answer.text

    await eventually(shows, what="the other repository is shown")


async def test_fetching_answers_when_it_is_done(scene: GitScene) -> None:
    added = await scene.add("fetched.git")
    await scene.ready(added["id"])
    found = await scene.ask("POST", f"/{added['id']}/fetch")
    assert found["status"] == "ready"
    scene.remote.behaviours.append(partial(answering, 404, "fetched.git"))
    try:
        refused = await scene.ask("POST", f"/{added['id']}/fetch", status=409)
    finally:
        scene.remote.behaviours.clear()
    assert refused["code"] == "fetch_failed"
    assert (await scene.ask("GET", f"/{added['id']}"))["reason"] == "not_found"
    assert (await scene.ask("POST", f"/{added['id']}/fetch"))["status"] == "ready"


async def test_others_see_nothing_of_it(scene: GitScene) -> None:
    """Not even with its address: what they add is fetched with what they have."""
    added = await scene.add("private.git")
    await scene.ready(added["id"])
    stranger = await scene.http.sign_up()
    for method, path in (
        *(("GET", path) for path in ("", "/branches", "/commits", "/tree", "/file?path=README.md", "/diff")),
        ("POST", "/test"),
        ("POST", "/fetch"),
        ("DELETE", ""),
    ):
        refused = await scene.ask(method, f"/{added['id']}{path}", status=404, headers=stranger)
        assert refused["code"] == "repository_not_found"
    own = await scene.ask("POST", status=201, json={"url": added["url"]}, headers=stranger)

    async def failed() -> bool:
        return bool((await scene.ask("GET", f"/{own['id']}", headers=stranger))["status"] == "failed")

    await eventually(failed, what="it is not fetched without a credential")
    refused = await scene.ask("GET", f"/{own['id']}/tree", status=409, headers=stranger)
    assert refused["code"] == "fetch_failed"


async def test_the_credential_stands_nowhere(scene: GitScene) -> None:
    added = await scene.add("canary.git")
    await scene.ready(added["id"])
    await scene.ask("POST", f"/{added['id']}/test")
    texts = [json.dumps(await scene.ask("GET", f"/{added['id']}")).encode()]
    for stream in ("EVENTS", "COMMANDS", "DEAD_LETTERS"):
        messages = await scene.installation.messages(stream)
        texts += [each.data + json.dumps(dict(each.headers or {})).encode() for each in messages]
    async with scene.installation.sql() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'git'")
        for table in tables:
            rows = await connection.fetch(f'select t::text from git."{table[0]}" t')
            texts += [row[0].encode() for row in rows]
    for path in scene.folder.rglob("*"):
        if path.is_file() and "served" not in path.parts:
            texts.append(path.read_bytes())
    assert texts
    assert not any(TOKEN.encode() in text for text in texts)
