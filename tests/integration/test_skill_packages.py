"""Packages of skills: who may, what is good."""

import hashlib
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from signalbox_catalog.service import tidying
from signalbox_common.contracts.catalog import MAX_PACKAGE
from signalbox_common.testing import eventually
from tests.support.catalog import Catalog, catalog_of
from tests.support.factories import refused
from tests.support.installation import Installation
from tests.support.packages import MIB, SKILLS, ZIP, get, objects, package, packed, put, skill_md, taken


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing refers to is cleared away at once."""
    monkeypatch.setattr(tidying, "GRACE", timedelta(seconds=-5))


# -- what is good -----------------------------------------------------------------------------------------


async def test_a_package_comes_back_as_it_was(catalog: Catalog) -> None:
    made = await catalog.create("skills", "lint", {"description": "Mine.", "tags": ["a"]}, labels={"a": "b"})
    content = package()
    skill = await taken(catalog, content)
    assert skill["spec"] == made["spec"], "what the skill says of itself stays"
    assert skill["metadata"]["labels"] == {"a": "b"}
    assert (skill["metadata"]["generation"], skill["metadata"]["resourceVersion"]) == (1, "2")
    digest = hashlib.sha256(content).hexdigest()
    assert skill["status"]["state"] == "Available"
    assert skill["status"]["package"]["sha256"] == digest
    back = await get(catalog)
    assert back.status_code == 200
    assert back.content == content
    assert back.headers["content-type"] == "application/zip"
    assert back.headers["etag"] == f'"{digest}"'
    assert back.headers["content-disposition"] == 'attachment; filename="lint.zip"'
    listed = (await catalog.get("skills/lint/package/files")) | {"object": ""}
    assert listed == {
        "sha256": digest,
        "size": len(content),
        "unpackedSize": len(skill_md()) + len(b"#!/bin/sh\n") + len(b"one"),
        "fileCount": 3,
        "files": [
            {"path": "SKILL.md", "size": len(skill_md()), "executable": False},
            {"path": "notes.txt", "size": 3, "executable": False},
            {"path": "scripts/check.sh", "size": 10, "executable": True},
        ],
        "object": "",
    }
    assert (await catalog.get("skills/lint"))["status"] == skill["status"]


@pytest.mark.fresh
async def test_a_package_is_replaced(installation: Installation, catalog: Catalog) -> None:
    first = await taken(catalog, package("one"))
    assert first["metadata"]["generation"] == 1
    second = await taken(catalog, package("two"))
    assert second["metadata"]["generation"] == 1, "the spec is the same"
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert (await get(catalog)).content == package("two")
    assert await objects(installation) == {second["status"]["package"]["object"]}
    assert (await get(catalog)).content == package("two")

    async def told() -> list[str]:
        found = await installation.messages("EVENTS", "evt.*.catalog.resource.*")
        assert await installation.count("catalog.outbox") == 0
        return [message.subject.rpartition(".")[2] for message in found]

    assert (await eventually(told))[-1] == "updated"


async def test_a_package_makes_its_skill(catalog: Catalog, subtests: pytest.Subtests) -> None:
    front: dict[str, dict[str, Any]] = {
        "with-all": {"version": '"1.2"', "author": "me"},
        "with-a-number": {"version": 2},
        "with-more": {"license": "MIT", "metadata": "{a: [1]}"},
        "bare": {},
    }
    for name, more in front.items():
        with subtests.test(name):
            skill = await taken(catalog, package(name=name, **more), name)
            said = {key: str(more[key]).strip('"') for key in ("version", "author") if key in more}
            assert skill["spec"] == {"description": "Checks style."} | said
            assert skill["metadata"]["name"] == name
    with subtests.test("without a name"):
        assert (await taken(catalog, package(name=None), "unnamed"))["metadata"]["name"] == "unnamed"
    with subtests.test("in a folder"):
        files = {"folder/SKILL.md": skill_md("foldered"), "folder/a.txt": b"a"}
        await taken(catalog, packed(files), "foldered")
        listed = await catalog.get("skills/foldered/package/files")
        assert [file["path"] for file in listed["files"]] == ["folder/SKILL.md", "folder/a.txt"]
    with subtests.test("as any other"):
        ghost = await catalog.create("ghosts", "g", {"systemPrompt": "x", "skills": ["bare"]})
        assert ghost["spec"]["skills"] == ["bare"]
        assert [each["metadata"]["name"] for each in (await catalog.get("skills", limit=1))["items"]] == [
            "bare"
        ]


@pytest.mark.fresh
async def test_a_package_of_another_name(installation: Installation, catalog: Catalog) -> None:
    await catalog.create("skills", "there")
    for name in ("new", "there"):
        errors = refused(await put(catalog, package(name="lint"), name), 422, "validation_failed")
        assert [(error["field"], error["code"]) for error in errors] == [("SKILL.md", "renamed")]
    await catalog.get("skills/new", 404)
    assert (await catalog.get("skills/there/package", 404))["code"] == "package_not_found"
    for name in ("Upper", "a_b", "schema"):
        errors = refused(await put(catalog, package(name=None), name), 422, "validation_failed")
        assert [error["field"] for error in errors] == ["metadata.name"]
    assert await installation.count("catalog.resources") == 1


async def test_a_skill_with_a_name_from_elsewhere(catalog: Catalog) -> None:
    text = (
        "apiVersion: agent.wecode.io/v1\nkind: Skill\nmetadata: {name: '代码 Lint'}\nspec: {description: x}\n"
    )
    assert (await catalog.apply(text)).status_code == 200
    await taken(catalog, package(name=None), "代码 Lint")
    back = await get(catalog, "代码 Lint")
    assert back.content == package(name=None)
    assert back.headers["content-disposition"] == 'attachment; filename="---Lint.zip"'


async def test_the_largest_package(catalog: Catalog) -> None:
    """Exactly so many bytes are taken, one more is not."""
    rest = MAX_PACKAGE - len(packed({"SKILL.md": skill_md(), "data": b""}, zipfile.ZIP_STORED))
    largest = packed({"SKILL.md": skill_md(), "data": os.urandom(rest)}, zipfile.ZIP_STORED)
    assert len(largest) == MAX_PACKAGE
    await taken(catalog, largest)
    assert (await get(catalog)).content == largest
    refused(await put(catalog, largest + b"\0"), 413, "body_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield bytes(MIB)

    answer = await catalog.http.put(f"{SKILLS}/lint/package", content=pieces(), headers=catalog.headers | ZIP)
    refused(answer, 413, "body_too_large")
    assert (await get(catalog)).content == largest


# -- who may ----------------------------------------------------------------------------------------------


@pytest.mark.fresh
async def test_who_may_upload_and_who_may_read(installation: Installation, catalog: Catalog) -> None:
    project = await catalog.http.project(catalog.headers, "Ours")
    found = await catalog.http.get(f"/api/v1/projects/{project}", headers=catalog.headers)
    slug = found.json()["slug"]
    viewer = await catalog.http.join(catalog.headers, project, "viewer")
    developer = await catalog.http.join(catalog.headers, project, "developer")
    stranger = await catalog.http.sign_up()
    refused(await put(catalog, package(), headers=viewer, namespace=slug), 403, "role_too_low")
    refused(await put(catalog, package(), headers=stranger, namespace=slug), 404, "project_not_found")
    assert await objects(installation) == set(), "nobody fills the bucket who may not"
    assert await installation.count("catalog.resources") == 0
    assert (await put(catalog, package(), headers=developer, namespace=slug)).status_code == 200
    for who in (viewer, developer, catalog.headers):
        assert (await get(catalog, headers=who, namespace=slug)).content == package()
    for path in ("package", "package/files"):
        answer = await catalog.http.get(f"{SKILLS}/lint/{path}", headers=stranger, params={"namespace": slug})
        refused(answer, 404, "project_not_found")
        refused(await catalog.http.get(f"{SKILLS}/lint/{path}"), 401, "unauthenticated")
    refused(await put(catalog, package(), headers={"x": "y"}, namespace=slug), 401, "unauthenticated")
    other = package("of the stranger")
    assert (await put(catalog, other, headers=stranger)).status_code == 200, "in the own namespace"
    assert (await get(catalog, headers=stranger)).content == other
    assert (await get(catalog, namespace=slug)).content == package(), "which is another one"
    refused(await put(catalog, other, headers=viewer, namespace=slug), 403, "role_too_low")
    assert (await get(catalog, namespace=slug)).content == package()
