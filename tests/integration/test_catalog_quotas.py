"""What a project may have in the catalog: resources, their bytes, and packages of skills."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, SPECS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.packages import MIB, objects, package, packed, put, skill_md, taken, tidy

MOST = 5


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


async def limited(catalog: Catalog, installation: Installation, **limits: int | None) -> None:
    """Those of the own project, once the catalog has heard of them."""
    (project,) = [
        each["id"]
        for each in (await catalog.http.get("/api/v1/projects", headers=catalog.headers)).json()["items"]
        if each["personal"]
    ]
    path, headers = f"/api/v1/projects/{project}/quotas", await catalog.http.administrator()
    version = (await catalog.http.put(path, json=limits, headers=headers)).json()["version"]

    async def heard() -> bool:
        return await installation.count("catalog.quotas", f"version = {version}") > 0

    await eventually(heard, what="the catalog has heard of it")


async def create(catalog: Catalog, name: str, spec: Any = None) -> Any:
    body = {"metadata": {"name": name}, "spec": SPECS["ghosts"] if spec is None else spec}
    answer = await catalog.http.post(f"{KINDS}/ghosts", json=body, headers=catalog.headers)
    return answer.status_code, answer.json()


def document(name: str) -> str:
    head = f"apiVersion: agent.wecode.io/v1\nkind: Ghost\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{systemPrompt: Go.}}\n"


def names(answer: Any) -> str:
    assert answer["code"] == "quota_exceeded", answer
    return str(answer["errors"][0]["field"])


async def test_a_crowd_makes_exactly_as_many_as_there_may_be(
    catalog: Catalog, installation: Installation
) -> None:
    await create(catalog, "before")
    await limited(catalog, installation, resources=MOST)
    async with installation.running_catalog():
        made = await asyncio.gather(*(create(catalog, f"ghost-{number}") for number in range(30)))
    refused = [answer for status, answer in made if status == 429]
    assert sorted(status for status, _ in made) == [201] * (MOST - 1) + [429] * (30 - MOST + 1)
    assert {names(answer) for answer in refused} == {"resources"}
    assert refused[0]["detail"] == "The project has a quota of 5 for resources, and 5 are used."
    listed = (await catalog.get("ghosts", limit=100))["items"]
    assert len(listed) == MOST
    gone = await catalog.http.delete(f"{KINDS}/ghosts/before", headers=catalog.headers)
    assert gone.status_code == 204
    assert (await create(catalog, "in-its-place"))[0] == 201
    back = await catalog.http.post(f"{KINDS}/ghosts/before/restore", headers=catalog.headers)
    assert (back.status_code, names(back.json())) == (429, "resources")
    changed = await catalog.http.patch(
        f"{KINDS}/ghosts/in-its-place",
        json={"spec": {"systemPrompt": "Other."}},
        headers=catalog.headers | {"content-type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, "what is there can be changed"


async def test_an_apply_that_is_too_much_changes_nothing(
    catalog: Catalog, installation: Installation
) -> None:
    await limited(catalog, installation, resources=MOST)
    text = "---\n".join(document(f"g{number}") for number in range(MOST + 1))
    for dry in ("false", "true"):
        answer = await catalog.apply(text, dryRun=dry)
        assert (answer.status_code, names(answer.json())) == (429, "resources")
    assert (await catalog.get("ghosts"))["items"] == []


async def test_what_is_remembered_is_what_is_there(catalog: Catalog, installation: Installation) -> None:
    """By both instances, whatever was made, tried, refused, deleted and brought back in between."""
    async with installation.running_catalog():
        for number in range(12):
            await create(catalog, f"ghost-{number}")
        await taken(catalog, package())  # stores twice in one transaction
        await catalog.apply(document("tried"), dryRun="true")
        await catalog.apply(document("applied") + "---\n" + document("[]"))
        await catalog.apply(document("applied"))
        for number in range(4):
            await catalog.http.delete(f"{KINDS}/ghosts/ghost-{number}", headers=catalog.headers)
        await catalog.http.post(f"{KINDS}/ghosts/ghost-0/restore", headers=catalog.headers)
        await limited(catalog, installation, catalogBytes=0)
        where = f"project_id = (select project_id from catalog.namespaces where slug = '{catalog.namespace}')"
        size = await installation.value(f"select sum(size) from catalog.revisions where {where}")
        living = await installation.count("catalog.resources", f"deleted_at is null and {where}")
        assert living == 11, "nine ghosts, a skill, and one that was applied"
        for _ in range(6):  # whichever of them answers
            refused = (await create(catalog, "more"))[1]
            assert refused["errors"][0]["message"] == f"{size:,} of 0 are used"
        await limited(catalog, installation, resources=0)
        for _ in range(6):
            refused = (await create(catalog, "more"))[1]
            assert refused["errors"][0]["message"] == f"{living} of 0 are used"


@pytest.mark.fresh
async def test_history_counts_and_what_is_forgotten_makes_room(installation: Installation) -> None:
    async with catalog_of(installation, quota_catalog_bytes=100_000) as catalog:
        await _fill_history(catalog)
        async with installation.sql() as connection:
            await connection.execute("delete from catalog.revisions")

        async def has_room() -> bool:
            status, _ = await create(catalog, "other")
            return bool(status == 201)

        await eventually(has_room, within=20, what="it is noticed that there is room again")


async def _fill_history(catalog: Catalog) -> None:
    patch = catalog.headers | {"content-type": "application/merge-patch+json"}
    await create(catalog, "ghost")

    async def change(number: int) -> Any:
        spec = {"systemPrompt": f"{number:05}" * 4_000}
        return await catalog.http.patch(f"{KINDS}/ghosts/ghost", json={"spec": spec}, headers=patch)

    done = [(await change(number)).status_code for number in range(6)]
    assert done == [200] * 4 + [429] * 2
    assert names((await change(6)).json()) == "catalogBytes"
    gone = await catalog.http.delete(f"{KINDS}/ghosts/ghost", headers=catalog.headers)
    assert gone.status_code == 204, "to delete is allowed whatever there is"


# -- packages ----------------------------------------------------------------------------------------------


def large(name: str = "lint") -> bytes:
    """Of a little more than one MiB, which nothing makes smaller."""
    return packed({"SKILL.md": skill_md(name), "data.bin": os.urandom(MIB)})


@pytest.mark.fresh
async def test_packages_of_a_project_have_a_bound(installation: Installation) -> None:
    async with catalog_of(installation, quota_package_bytes=int(2.5 * MIB)) as catalog:
        await _fill_with_packages(catalog, installation)


async def _fill_with_packages(catalog: Catalog, installation: Installation) -> None:
    await taken(catalog, large("one"), "one")
    await taken(catalog, large("two"), "two")
    refused = await put(catalog, large("three"), "three")
    assert (refused.status_code, names(refused.json())) == (429, "packageBytes")
    assert len(await objects(installation)) == 2, "what was refused takes no room"
    await taken(catalog, large("two"), "two")
    gone = await catalog.http.delete(f"{KINDS}/skills/one", headers=catalog.headers)
    assert gone.status_code == 204
    refused = await put(catalog, large("three"), "three")
    assert refused.status_code == 429, "it could be restored"
    await taken(catalog, package(name="small"), "small")


@pytest.mark.fresh
async def test_what_is_replaced_goes_at_once(catalog: Catalog, installation: Installation) -> None:
    """Or whoever replaces one package again and again fills what all have."""
    for number in range(3):
        await taken(catalog, package(str(number)))
        assert len(await objects(installation)) == 1
    await taken(catalog, package("2"))
    assert len(await objects(installation)) == 1, "the same again is stored once"
    await tidy(catalog)
    fetched = await catalog.http.get(f"{KINDS}/skills/lint/package", headers=catalog.headers)
    assert fetched.content == package("2")
