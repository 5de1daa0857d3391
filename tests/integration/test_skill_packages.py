"""Packages of skills: what was uploaded is what is served, or nothing is."""

import asyncio
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from signalbox_catalog.service import tidying
from signalbox_common.contracts.catalog import MAX_PACKAGE
from signalbox_common.contracts.streams import PACKAGE_BUCKET, PACKAGES
from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.installation import Installation

SKILLS = f"{KINDS}/skills"
ZIP = {"content-type": "application/zip"}
MIB = 1024 * 1024


def skill_md(name: str | None = "lint", **more: Any) -> bytes:
    lines = [f"name: {name}"] if name is not None else []
    lines += ["description: Checks style.", *(f"{key}: {value}" for key, value in more.items())]
    return "\n".join(["---", *lines, "---", "# What to do", ""]).encode()


def packed(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP; what ends with `.sh` may be executed."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if path.endswith(".sh") else 0o100644) << 16
            entry.compress_type = compression
            archive.writestr(entry, content)
    return written.getvalue()


def package(text: str = "one", name: str | None = "lint", **more: Any) -> bytes:
    files = {
        "SKILL.md": skill_md(name, **more),
        "scripts/check.sh": b"#!/bin/sh\n",
        "notes.txt": text.encode(),
    }
    return packed(files)


def _with_symlink() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("SKILL.md", skill_md())
        link = zipfile.ZipInfo("passwords")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return written.getvalue()


async def put(
    catalog: Catalog, content: bytes, name: str = "lint", headers: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    sent = (headers or catalog.headers) | ZIP
    return await catalog.http.put(f"{SKILLS}/{name}/package", content=content, headers=sent, params=query)


async def get(
    catalog: Catalog, name: str = "lint", headers: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    where = f"{SKILLS}/{name}/package"
    return await catalog.http.get(where, headers=headers or catalog.headers, params=query)


def refused(answer: httpx.Response, status: int, code: str) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:200]
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    errors: list[dict[str, Any]] = answer.json().get("errors", [])
    return errors


async def taken(catalog: Catalog, content: bytes, name: str = "lint", **query: Any) -> Any:
    """The skill, when the package was good."""
    answer = await put(catalog, content, name, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def objects(installation: Installation) -> set[str]:
    """What lies in the bucket."""
    async with installation.nats() as client:
        state = (await client.jetstream().stream_info(PACKAGES.name)).state
        if not state.messages:
            return set()
        store = await client.jetstream().object_store(PACKAGE_BUCKET)
        return {str(info.name) for info in await store.list() if not info.deleted}


async def tidy(catalog: Catalog) -> None:
    async with catalog.service.database.transaction() as transaction:
        await catalog.service.tidy(transaction)


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing refers to is cleared away at once."""
    monkeypatch.setattr(tidying, "GRACE", timedelta(seconds=-5))


# -- what is good ----------------------------------------------------------------------------------------


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
async def test_a_package_is_replaced(installation: Installation, catalog: Catalog, impatient: None) -> None:
    first = await taken(catalog, package("one"))
    assert first["metadata"]["generation"] == 1
    second = await taken(catalog, package("two"))
    assert second["metadata"]["generation"] == 1, "the spec is the same"
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert (await get(catalog)).content == package("two")
    assert len(await objects(installation)) == 2
    await tidy(catalog)
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


# -- who may ---------------------------------------------------------------------------------------------


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


# -- what is not good ------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "traversal": (lambda: packed({"SKILL.md": skill_md(), "../evil.sh": b"x"}), "../evil.sh", "path_dots"),
    "deep-traversal": (
        lambda: packed({"SKILL.md": skill_md(), "a/../../evil": b"x"}),
        "a/../../evil",
        "path_dots",
    ),
    "absolute": (lambda: packed({"SKILL.md": skill_md(), "/etc/evil": b"x"}), "/etc/evil", "path_absolute"),
    "backslash": (lambda: packed({"SKILL.md": skill_md(), "..\\evil": b"x"}), "..\\evil", "path_backslash"),
    "symlink": (_with_symlink, "passwords", "symlink"),
    "bomb": (
        lambda: packed({"SKILL.md": skill_md(), "zeros": bytes(60 * MIB)}),
        "zeros",
        "zip_ratio",
    ),
    "bombs": (
        lambda: packed({"SKILL.md": skill_md()} | {f"z{n}": bytes(MIB) for n in range(100)}),
        "",
        "unpacked_too_large",
    ),
    "alike": (lambda: packed({"SKILL.md": skill_md(), "a": b"", "A": b""}), "A", "path_alike"),
    "many": (
        lambda: packed({"SKILL.md": skill_md()} | {f"f{n}": b"" for n in range(1000)}),
        "",
        "too_many_files",
    ),
    "no-skill": (lambda: packed({"readme.txt": b"x"}), "SKILL.md", "no_skill_md"),
    "no-front-matter": (lambda: packed({"SKILL.md": b"# Lint\n"}), "SKILL.md", "no_front_matter"),
    "no-description": (
        lambda: packed({"SKILL.md": b"---\nname: lint\n---\n"}),
        "SKILL.md",
        "front_matter_no_description",
    ),
    "bad-front-matter": (
        lambda: packed({"SKILL.md": b"---\na: 1\nb: [\n---\n"}),
        "SKILL.md",
        "front_matter_bad_yaml",
    ),
    "cut": (lambda: package()[:-10], "", "zip_truncated"),
    "no-zip": (lambda: b"#!/bin/sh\nrm -rf /\n", "", "not_a_zip"),
    "in-front": (lambda: b"#!/bin/sh\n" + package(), "", "zip_foreign_bytes"),
    "behind": (lambda: package() + b"more", "", "zip_foreign_bytes"),
    "nothing": (lambda: b"", "", "bad_zip"),
}


@pytest.mark.fresh
async def test_bad_packages_are_refused_and_cleared_away(
    installation: Installation, catalog: Catalog, subtests: pytest.Subtests
) -> None:
    good = await taken(catalog, package())
    for name, (make, where, code) in BAD.items():
        with subtests.test(name):
            for skill in ("lint", "new"):
                answer = await put(catalog, make(), skill)
                assert answer.status_code == 422, answer.text
                if name == "nothing":
                    assert answer.json()["code"] == code
                else:
                    (error,) = refused(answer, 422, "validation_failed")
                    assert (error["field"], error["code"]) == (where, code), error
                    assert where in answer.json()["detail"], "who reads no further knows it, too"
    await catalog.get("skills/new", 404)
    assert await catalog.get("skills/lint") == good
    assert (await get(catalog)).content == package()
    kept = good["status"]["package"]["object"]
    assert await objects(installation) == {kept}, "what was refused takes no room"


@pytest.mark.fresh
async def test_what_is_about_to_be_referred_to_is_not_cleared_away(
    installation: Installation, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (await taken(catalog, package()))["status"]["package"]["object"]
    waiting = "f" * 32
    await catalog.http.clients.packages.put(waiting, package("waiting"))
    await tidy(catalog)
    assert await objects(installation) == {kept, waiting}, "somebody may still be about to refer to it"
    monkeypatch.setattr(tidying, "GRACE", timedelta(seconds=-5))
    await tidy(catalog)
    assert await objects(installation) == {kept}
    assert (await get(catalog)).content == package()


async def test_media_types(catalog: Catalog, subtests: pytest.Subtests) -> None:
    for media in ("application/zip", "application/octet-stream", "application/x-zip-compressed", None):
        with subtests.test(str(media)):
            headers = catalog.headers | ({"content-type": media} if media else {})
            answer = await catalog.http.put(f"{SKILLS}/lint/package", content=package(), headers=headers)
            assert answer.status_code == 200, answer.text
    for media in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        with subtests.test(media):
            headers = catalog.headers | {"content-type": media}
            answer = await catalog.http.put(f"{SKILLS}/lint/package", content=package(), headers=headers)
            refused(answer, 415, "unsupported_media_type")


async def test_a_skill_without_a_package(catalog: Catalog) -> None:
    await catalog.create("skills", "bare")
    for path in ("package", "package/files"):
        assert (await catalog.get(f"skills/bare/{path}", 404))["code"] == "package_not_found"
        assert (await catalog.get(f"skills/nobody/{path}", 404))["code"] == "resource_not_found"
    ghosts = await catalog.http.put(
        f"{KINDS}/ghosts/g/package", content=package(), headers=catalog.headers | ZIP
    )
    assert ghosts.status_code == 404


@pytest.mark.fresh
async def test_a_repeat_under_the_same_idempotency_key(installation: Installation, catalog: Catalog) -> None:
    """Whoever heard no answer sends the same again, and must not be told that it is something else."""
    keyed = catalog.headers | {"Idempotency-Key": "upload-1"}
    first = await put(catalog, package(), headers=keyed)
    assert first.status_code == 200, first.text
    version = first.json()["metadata"]["resourceVersion"]
    again = await put(catalog, package(), headers=keyed)
    if again.status_code != 200:
        refused(again, 409, "already_done")
    assert (await catalog.get("skills/lint"))["metadata"]["resourceVersion"] == version
    other = await put(catalog, package("two"), headers=keyed)
    refused(other, 422, "idempotency_key_reused")
    assert (await get(catalog)).content == package()


# -- what is stored --------------------------------------------------------------------------------------


async def _replaced(installation: Installation, stored: str) -> None:
    async with installation.nats() as client:
        store = await client.jetstream().object_store(PACKAGE_BUCKET)
        await store.put(stored, package("evil"))


async def _altered(installation: Installation, stored: str) -> None:
    """Other bytes of the same length, while what is said of them stays."""
    async with installation.nats() as client:
        jetstream = client.jetstream()
        info = await (await jetstream.object_store(PACKAGE_BUCKET)).get_info(stored)
        subject = f"$O.{PACKAGE_BUCKET}.C.{info.nuid}"
        await jetstream.purge_stream(PACKAGES.name, subject=subject)
        await jetstream.publish(subject, bytes(info.size or 0))


@pytest.mark.parametrize("damage", [_replaced, _altered], ids=["replaced", "altered"])
@pytest.mark.fresh
async def test_a_damaged_package_is_not_served(
    installation: Installation, catalog: Catalog, damage: Callable[[Installation, str], Any]
) -> None:
    skill = await taken(catalog, package())
    await damage(installation, skill["status"]["package"]["object"])
    answer = await get(catalog)
    assert b"PK" not in answer.content
    refused(answer, 500, "package_damaged")
    assert (await catalog.get("skills/lint"))["status"] == skill["status"]
    await taken(catalog, package("again"))
    assert (await get(catalog)).content == package("again"), "a new one repairs it"


@pytest.mark.fresh
async def test_a_deleted_skill_keeps_its_package(
    installation: Installation, catalog: Catalog, impatient: None
) -> None:
    await taken(catalog, package())
    where = f"{SKILLS}/lint"
    assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
    refused(await get(catalog), 404, "resource_not_found")
    await tidy(catalog)
    restored = await catalog.http.post(f"{where}/restore", headers=catalog.headers)
    assert restored.status_code == 200
    assert (await get(catalog)).content == package()
    patch = {"spec": {"description": "other"}}
    await catalog.http.patch(where, json=patch, headers=catalog.headers)
    back = await catalog.http.post(f"{where}/history/1/rollback", headers=catalog.headers)
    assert back.json()["status"]["package"] == restored.json()["status"]["package"]
    text = "apiVersion: signalbox.dev/v1\nkind: Skill\nmetadata: {name: lint}\nspec: {description: z}\n"
    assert (await catalog.apply(f"{text}status: {{package: null}}\n")).status_code == 200
    await tidy(catalog)
    assert (await get(catalog)).content == package(), "it belongs to no generation"
    assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
    newer = await taken(catalog, package("newer"))
    assert newer["metadata"]["uid"] != restored.json()["metadata"]["uid"]
    await tidy(catalog)
    assert len(await objects(installation)) == 2, "the deleted one has its own still"
    assert (await get(catalog)).content == package("newer")


@pytest.mark.fresh
async def test_a_purged_skill_takes_its_package_along(installation: Installation, impatient: None) -> None:
    async with catalog_of(installation, deleted_kept_days=0, history_kept_days=0) as catalog:
        await taken(catalog, package())
        stays = await taken(catalog, package(name="stays"), "stays")
        assert (await catalog.http.delete(f"{SKILLS}/lint", headers=catalog.headers)).status_code == 204
        await tidy(catalog)
        await tidy(catalog)
        assert await objects(installation) == {stays["status"]["package"]["object"]}
        gone = await catalog.http.post(f"{SKILLS}/lint/restore", headers=catalog.headers)
        refused(gone, 404, "nothing_deleted")
        assert (await get(catalog, "stays")).content == package(name="stays")


@pytest.mark.fresh
async def test_uploads_at_the_same_time(installation: Installation, catalog: Catalog) -> None:
    """One of them is there afterwards, and whole; also where none was there before."""
    for turn in range(4):
        contents = [package(f"turn {turn}, number {number} {'x' * number * 1000}") for number in range(6)]
        answers = await asyncio.gather(*(put(catalog, content) for content in contents))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        found = await get(catalog)
        assert found.content in contents
        digest = hashlib.sha256(found.content).hexdigest()
        listed = await catalog.get("skills/lint/package/files")
        skill = await catalog.get("skills/lint")
        assert {name: value for name, value in listed.items() if name != "files"} == skill["status"][
            "package"
        ]
        assert listed["sha256"] == digest
        notes = next(file for file in listed["files"] if file["path"] == "notes.txt")
        assert notes["size"] == len(zipfile.ZipFile(io.BytesIO(found.content)).read("notes.txt"))
        versions = [int(answer.json()["metadata"]["resourceVersion"]) for answer in answers]
        assert skill["metadata"]["resourceVersion"] == str(max(versions))
    assert await installation.count("catalog.resources") == 1


async def test_without_the_bus(own_installation: Installation) -> None:
    installation = own_installation
    async with catalog_of(installation) as catalog:
        await taken(catalog, package())
        server = installation.servers.processes["nats"]
        server.kill()

        async def noticed() -> bool:
            return not catalog.http.clients.bus.connection.is_up

        await eventually(noticed)
        for answer in await asyncio.gather(put(catalog, package("two")), get(catalog)):
            assert answer.status_code == 503, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
        await server.start()

        async def back() -> bool:
            return (await get(catalog)).status_code == 200

        await eventually(back)
        assert (await get(catalog)).content == package(), "it was not replaced"
        await taken(catalog, package("three"))
        assert (await get(catalog)).content == package("three")
