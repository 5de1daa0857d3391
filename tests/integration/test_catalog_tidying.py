"""What is forgotten, and what is gone for good."""

import asyncio
import io
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import yaml
from nats.js.errors import NotFoundError

from signalbox_catalog.service import tidying
from signalbox_catalog.store import revisions as revision_rows
from signalbox_common.contracts.streams import PACKAGE_BUCKET
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually
from tests.support.applying import project as new_project
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.sse import outbox_is_empty, published
from tests.support.watched import GHOST, GHOSTS, happened, scene_of, told

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


async def tidy(service: Service) -> None:
    """What happens once an hour."""
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)


async def test_what_is_not_kept_any_more_is_expired(installation: Installation) -> None:
    async with scene_of(installation, history_kept_days=0, deleted_kept_days=0) as scene:
        await scene.catalog.create("ghosts", "a")
        for number in range(3):
            await scene.patch("a", {"count": number})
        for number in range(2):
            patch = {"metadata": {"labels": {"n": str(number)}}}
            await scene.http.patch(f"{GHOSTS}/a", json=patch, headers=scene.me)
        await scene.catalog.create("ghosts", "b")  # the seventh
        before = await happened(installation, "developer")
        assert [version for *_, version in before] == list(range(1, 8))
        async with scene.watch(resourceVersion="7") as open_one:
            await tidy(scene.catalog.service)
            # Of what lives, the last of each generation stays; what came before that is not whole any more.
            kept = [version for *_, version in await happened(installation, "developer")]
            assert kept == [1, 2, 3, 6, 7]
            for version in range(8):
                async with scene.watch(resourceVersion=str(version), timeoutSeconds=1) as reader:
                    if version < 5:
                        assert (reader.status, reader.problem["code"]) == (410, "expired"), version
                        continue
                    assert reader.status == 200, version
                    await reader.until(lambda reader=reader: reader.ended)  # type: ignore[misc]  # the loop's own
                    assert told(reader.changes) == [what for what in before if what[2] > version]
                async with scene.watch(last_event_id=version, resourceVersion="7", timeoutSeconds=1) as again:
                    assert again.status == (410 if version < 5 else 200)
            async with scene.watch(timeoutSeconds=1) as whole:
                await whole.until(lambda: whole.ended)
                assert [each.what[:2] for each in whole.changes] == [("ADDED", "a"), ("ADDED", "b")]
            await scene.delete("ghosts/b")
            await open_one.until(lambda: open_one.changes)
            assert told(open_one.changes) == [("DELETED", "b", 8)], "who is there is not cut off"
            await tidy(scene.catalog.service)
            await scene.patch("a", {"count": 9})
            await open_one.until(lambda: len(open_one.changes) == 2)
            async with scene.watch(resourceVersion="7") as late:
                assert (late.status, late.problem["code"]) == (410, "expired")
        history = await scene.catalog.get("ghosts/a/history")
        assert [item["generation"] for item in history["items"]] == [5, 4, 3, 2, 1]
        for number in range(1, 6):
            detail = await scene.catalog.get(f"ghosts/a/history/{number}")
            assert detail["resource"]["metadata"]["generation"] == number


async def test_of_many_generations_the_last_ones_stay(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revision_rows, "KEPT_GENERATIONS", 3)
    async with catalog_of(installation, history_kept_days=0) as catalog:
        await catalog.create("ghosts", "a")
        for number in range(6):
            patch = {"spec": {"count": number}}
            await catalog.http.patch(f"{GHOSTS}/a", json=patch, headers=catalog.headers)
        await tidy(catalog.service)
        history = await catalog.get("ghosts/a/history")
        assert [item["generation"] for item in history["items"]] == [7, 6, 5]
        detail = await catalog.get("ghosts/a/history/5")
        assert (detail["resource"]["spec"]["count"], detail["against"]) == (3, None)
        assert (await catalog.get("ghosts/a/history/4", 404))["code"] == "generation_not_found"
        gone = await catalog.http.post(f"{GHOSTS}/a/history/4/rollback", headers=catalog.headers)
        assert (gone.status_code, gone.json()["code"]) == (404, "generation_not_found")
        back = await catalog.http.post(f"{GHOSTS}/a/history/5/rollback", headers=catalog.headers)
        assert (back.json()["spec"]["count"], back.json()["metadata"]["generation"]) == (3, 8)


def package(text: str) -> bytes:
    """A ZIP as skills carry it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("SKILL.md")  # with no time in it: the same text is the same package
        archive.writestr(entry, f"---\ndescription: {text}\n---\n# {text}\n")
    return buffer.getvalue()


@dataclass
class Store:
    """Keys and packages that lie about, wanted or not."""

    installation: Installation
    catalog: Catalog

    async def bundles(self) -> set[str]:
        async with self.installation.sql() as sql:
            rows = await sql.fetch("select name from catalog.secrets where name like 'resources/%'")
        return {row["name"] for row in rows}

    async def objects(self) -> set[str]:
        async with self.installation.nats() as client:
            store = await client.jetstream().object_store(PACKAGE_BUCKET)
            with suppress(NotFoundError):  # which is how it says that there are none
                return {str(info.name) for info in await store.list() if not info.deleted}
        return set()

    async def model(self, name: str, api_key: str, method: str = "POST") -> Any:
        env = {"model": "openai", "model_id": "m", "api_key": api_key}
        body = {"metadata": {"name": name}, "spec": {"modelConfig": {"env": env}}}
        path = f"{KINDS}/models" + ("" if method == "POST" else f"/{name}")
        return await self.catalog.http.request(method, path, json=body, headers=self.catalog.headers)

    async def upload(self, name: str, content: bytes) -> httpx.Response:
        headers = self.catalog.headers | {"content-type": "application/zip"}
        return await self.catalog.http.put(f"{KINDS}/skills/{name}/package", content=content, headers=headers)


async def test_what_was_deleted_long_ago_is_gone_for_good(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its keys, packages and history; what lives keeps all of that."""
    async with catalog_of(installation, history_kept_days=0, deleted_kept_days=0) as catalog:
        store = Store(installation, catalog)
        for name in ("kept", "gone"):
            for number, method in enumerate(("POST", "PUT")):
                answer = await store.model(name, f"sk-live-{name}-{number}-abcdef", method)
                assert answer.status_code in (200, 201), answer.text
            for text in ("one", "two"):
                uploaded = await store.upload(f"{name}-skill", package(f"{name} {text}"))
                assert uploaded.status_code == 200, uploaded.text
        wanted_bundles = await _bundles_of(installation, "kept")
        assert len(wanted_bundles) == 2
        assert (await store.model("kept", "sk-live-of-nobody-abcdef")).status_code == 409
        assert (await store.upload("bad-skill", b"no zip")).status_code == 422
        assert len(await store.objects()) == 2, "what was refused is not kept, nor what was replaced"
        await catalog.http.clients.packages.put("f" * 32, b"of a gateway that died right then")
        assert (len(await store.bundles()), len(await store.objects())) == (5, 3)
        for path in ("models/gone", "skills/gone-skill"):
            deleted = await catalog.http.delete(f"{KINDS}/{path}", headers=catalog.headers)
            assert deleted.status_code == 204, deleted.text
        await outbox_is_empty(installation)

        await tidy(catalog.service)
        assert await installation.count("catalog.resources") == 2
        assert await installation.count("catalog.revisions", "resource ->> 'name' like 'gone%'") == 0
        assert (len(await store.bundles()), len(await store.objects())) == (5, 3), "the grace is not over"
        for plural, name in (("models", "gone"), ("skills", "gone-skill")):
            assert (await catalog.get(plural, deleted="true"))["items"] == []
            back = await catalog.http.post(f"{KINDS}/{plural}/{name}/restore", headers=catalog.headers)
            assert (back.status_code, back.json()["code"]) == (404, "nothing_deleted")

        monkeypatch.setattr(tidying, "GRACE", timedelta(0))
        await tidy(catalog.service)
        assert await store.bundles() == wanted_bundles
        async with installation.sql() as sql:
            attached = "select status -> 'package' ->> 'object' from catalog.resources where kind = 'Skill'"
            assert await store.objects() == {await sql.fetchval(attached)}
        download = await catalog.http.get(f"{KINDS}/skills/kept-skill/package", headers=catalog.headers)
        assert download.content == package("kept two")

        history = (await catalog.get("models/kept/history"))["items"]
        assert [item["generation"] for item in history] == [2, 1]
        rolled = await catalog.http.post(f"{KINDS}/models/kept/history/1/rollback", headers=catalog.headers)
        assert rolled.status_code == 200, rolled.text
        await tidy(catalog.service)
        assert await store.bundles() == wanted_bundles
        await outbox_is_empty(installation)
        told_of = [each for each in await published(installation) if each.change == "purged"]
        assert {(each.kind, each.name) for each in told_of} == {("Model", "gone"), ("Skill", "gone-skill")}
        assert len(told_of) == 2


async def _bundles_of(installation: Installation, name: str) -> set[str]:
    """All that any generation of a model refers to."""
    async with installation.sql() as sql:
        rows = await sql.fetch(
            "select entry.value ->> 'bundle' as bundle from catalog.revisions,"
            " jsonb_each(resource -> 'secrets') as entry where resource ->> 'name' = $1",
            name,
        )
    return {row["bundle"] for row in rows}


async def waits_for_a_lock(installation: Installation) -> bool:
    async with installation.sql() as sql:
        return bool(
            await sql.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )


async def test_what_is_being_purged_is_not_restored(installation: Installation) -> None:
    """Either of the two, and never an answer that says restored of what is gone."""
    async with catalog_of(installation, deleted_kept_days=0) as catalog:
        await catalog.create("ghosts", "g")
        where = f"{GHOSTS}/g"
        assert (await catalog.http.delete(where, headers=catalog.headers)).status_code == 204
        async with catalog.service.database.transaction() as transaction:
            await catalog.service.tidy(transaction)
            restoring = asyncio.create_task(catalog.http.post(f"{where}/restore", headers=catalog.headers))

            async def waits_or_is_answered() -> bool:
                return restoring.done() or await waits_for_a_lock(installation)

            await eventually(waits_or_is_answered)
        answer = await restoring
        there = (await catalog.http.get(where, headers=catalog.headers)).status_code
        assert (answer.status_code, there) in ((200, 200), (404, 404)), answer.text
        await outbox_is_empty(installation)
        changes = [each.change for each in await published(installation)]
        assert changes in (["created", "deleted", "purged"], ["created", "deleted", "restored"])


async def test_tidying_is_in_nobodys_way(installation: Installation) -> None:
    """Sets of two namespaces are applied while what they leave behind is forgotten."""
    async with catalog_of(installation, history_kept_days=0, deleted_kept_days=0) as catalog:
        http, me = catalog.http, catalog.headers
        await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=me)
        items = (await http.get("/api/v1/projects", headers=me)).json()["items"]
        slugs = [item["slug"] for item in sorted(items, key=lambda item: item["id"], reverse=True)]
        tidied = 0
        stop = asyncio.Event()

        async def tidy_all_the_time() -> None:
            nonlocal tidied
            while not stop.is_set():
                await tidy(catalog.service)
                tidied += 1

        async def apply(who: int) -> None:
            for number in range(25):
                docs = [
                    {
                        "apiVersion": "signalbox.dev/v1",
                        "kind": "Ghost",
                        "metadata": {"name": f"g{who}", "namespace": slug, "labels": {"n": str(number)}},
                        "spec": GHOST,
                    }
                    for slug in slugs
                ]
                answer = await catalog.apply(yaml.safe_dump_all(docs))
                assert answer.status_code == 200, answer.text

        tidying_up = asyncio.create_task(tidy_all_the_time())
        try:
            await asyncio.gather(*(apply(who) for who in range(4)))
        finally:
            stop.set()
            await tidying_up
        async with installation.sql() as sql:
            count = "select deadlocks from pg_stat_database where datname = current_database()"
            assert await sql.fetchval(count) == 0
    print(f"100 sets were applied, tidied up {tidied} times")


async def test_what_other_projects_refer_to_is_purged_too(installation: Installation) -> None:
    """What they wrote stays as broken as it was; whoever is changing it at the moment is not waited for."""
    async with catalog_of(installation, deleted_kept_days=0) as catalog:
        http, me = catalog.http, catalog.headers
        project, slug = await new_project(catalog, "Holder")
        viewer = await http.join(me, project, "viewer")
        await catalog.create("ghosts", "g")
        await catalog.create("shells", "s", namespace=slug)
        refs = {"ghostRef": {"name": "g", "namespace": catalog.namespace}, "shellRef": "s"}
        await catalog.create("bots", "b", refs, namespace=slug)

        async def seen(headers: dict[str, str]) -> tuple[Any, str]:
            answer = await http.get(f"{KINDS}/bots/b/resolved", params={"namespace": slug}, headers=headers)
            return answer.json(), answer.headers["etag"]

        hidden = await seen(viewer)
        assert (await http.delete(f"{GHOSTS}/g", headers=me)).status_code == 204
        broken = await seen(me)
        assert broken[0]["references"]["ghostRef"] == {
            "kind": "Ghost",
            "namespace": catalog.namespace,
            "name": "g",
            "broken": True,
        }
        async with installation.sql() as sql, sql.transaction():
            await sql.execute("select from catalog.refs for update")
            await tidy(catalog.service)
            assert await installation.count("catalog.resources", "kind = 'Ghost'") == 1, "an hour later"
        await tidy(catalog.service)
        assert await installation.count("catalog.resources", "kind = 'Ghost'") == 0
        assert await seen(me) == broken
        assert await seen(viewer) == hidden
        await catalog.create("ghosts", "g")
        assert await seen(me) == broken, "the name is another one's by now"
        await outbox_is_empty(installation)
        assert [each.change for each in await published(installation)].count("purged") == 1
