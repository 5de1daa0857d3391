"""Packages of skills: what is refused, damaged, cleared away."""

import asyncio
import hashlib
import io
import stat
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from signalbox_catalog.service import tidying
from signalbox_common.contracts.streams import PACKAGE_BUCKET, PACKAGES
from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.factories import refused
from tests.support.installation import Installation
from tests.support.packages import MIB, SKILLS, ZIP, get, objects, package, packed, put, skill_md, taken, tidy


def _with_symlink() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("SKILL.md", skill_md())
        link = zipfile.ZipInfo("passwords")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return written.getvalue()


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing refers to is cleared away at once."""
    monkeypatch.setattr(tidying, "GRACE", timedelta(seconds=-5))


# -- what is not good -------------------------------------------------------------------------------------
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


# -- what is stored ---------------------------------------------------------------------------------------


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
