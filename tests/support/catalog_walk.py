"""A person's walk through a catalog, beside the model of it."""

import asyncio
import copy
import json
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import httpx

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.vault import Vault
from tests.support.catalog_model import (
    HOME,
    KIND_OF,
    OTHER,
    PLURAL_OF,
    SELECTORS,
    UNFIT,
    Act,
    Doc,
    Empty,
    Key,
    Refused,
    Spec,
    Thing,
    World,
)
from tests.support.catalog_person import Person, check_changes, paged_through


class Walk:
    """One sequence of changes: each is asked of the catalog and of the model, and both must say the same."""

    def __init__(self, person: Person, vault: Vault, sql: Any) -> None:
        self.person = person
        self.world = World(person.slugs)
        self.statuses: list[tuple[str, int]] = []
        self.broken = 0
        """References that were seen to be."""
        self._vault = vault
        self._sql = sql
        self._uids: set[str] = set()

    def version_of(self, key: Key, which: str) -> str | None:
        """The one that it has, one that it does not have, or none."""
        now = self.world.living.get(key)
        version = now.version if now is not None else 1
        return {"none": None, "current": str(version), "stale": str(version + 7)}[which]

    async def create(self, doc: Doc, addressed: str) -> None:
        doc = self.person.written_doc(doc)
        query, namespace = self._addressed(doc.space, addressed)
        answer = await self.person.request("POST", doc.plural, self.person.document(doc, namespace), **query)
        await self._compare("create", answer, 201, lambda world: world.write([doc], exists=False))

    async def replace(self, doc: Doc, addressed: str, match: str, meant: str) -> None:
        version, own = self.version_of(doc.key, match), self.version_of(doc.key, meant)
        doc = self.person.written_doc(doc, own)
        query, namespace = self._addressed(doc.space, addressed)
        answer = await self.person.request(
            "PUT",
            f"{doc.plural}/{doc.name}",
            self.person.document(doc, namespace),
            match=version,
            **query,
        )
        await self._compare("replace", answer, 200, lambda w: w.write([doc], exists=True, version=version))

    async def patch(self, key: Key, patch: Spec, match: str, meant: str) -> None:
        version, own = self.version_of(key, match), self.version_of(key, meant)
        patch = self.person.written(patch)
        if own is not None:
            patch = patch | {"metadata": patch.get("metadata", {}) | {"resourceVersion": own}}
        answer = await self.person.request(
            "PATCH", f"{key[1]}/{key[2]}", patch, match=version, namespace=self.person.slugs[key[0]]
        )
        await self._compare("patch", answer, 200, lambda world: world.patch(key, patch, version))

    async def delete(self, key: Key, match: str, *, cascade: bool) -> None:
        version = self.version_of(key, match)
        answer = await self.person.request(
            "DELETE",
            f"{key[1]}/{key[2]}",
            match=version,
            namespace=self.person.slugs[key[0]],
            cascade=str(cascade).lower(),
        )

        def act(world: World) -> Empty:
            return [("deleted", thing) for thing in world.delete(key, cascade=cascade, version=version)]

        await self._compare("delete", answer, 204, act)

    async def restore(self, key: Key) -> None:
        answer = await self.person.request(
            "POST", f"{key[1]}/{key[2]}/restore", namespace=self.person.slugs[key[0]]
        )
        await self._compare("restore", answer, 200, lambda world: [("restored", world.restore(key))])

    async def roll_back(self, key: Key, generation: int, match: str) -> None:
        version = self.version_of(key, match)
        answer = await self.person.request(
            "POST",
            f"{key[1]}/{key[2]}/history/{generation}/rollback",
            match=version,
            namespace=self.person.slugs[key[0]],
        )
        await self._compare(
            "roll back", answer, 200, lambda world: [world.roll_back(key, generation, version)]
        )

    async def apply(
        self, docs: Sequence[tuple[Doc, str]], *, dry_run: bool = False, prune: str | None = None
    ) -> None:
        written = [self.person.written_doc(doc, self.version_of(doc.key, meant)) for doc, meant in docs]
        query: dict[str, Any] = {"dryRun": "true"} if dry_run else {}
        if prune is not None:
            query |= {"prune": "true", "labelSelector": prune}
        answer = await self.person.apply(self.person.text(written), **query)

        def act(world: World) -> Empty:
            keys = [doc.key for doc in written]
            if prune == "" or len(set(keys)) < len(keys):
                raise UNFIT
            done = world.write(written, many=True)
            spaces = {doc.space for doc in written}
            return done + (
                [("deleted", thing) for thing in world.prune(spaces, prune, set(keys))] if prune else []
            )

        if dry_run:
            self._check_items(answer, len(docs), *self._predicted(act))
            self.statuses.append(("dry run", answer.status_code))
        else:
            done = await self._compare("apply", answer, 200, act)
            if done is not None:
                self._check_items(answer, len(docs), None, done)

    def _check_items(self, answer: httpx.Response, count: int, refused: Refused | None, done: Empty) -> None:
        if refused is not None:
            assert (answer.status_code, answer.json()["code"]) == (refused.status, refused.code), answer.text
            return
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]

        def said(item: Any) -> tuple[Any, ...]:
            return item["action"], item["kind"], item["namespace"], item["name"], item.get("generation")

        expected = [
            (action, KIND_OF[t.key[1]], self.person.slugs[t.key[0]], t.key[2], t.generation)
            for action, t in done
        ]
        assert [said(item) for item in items[:count]] == expected[:count]
        assert sorted(said(item)[:4] for item in items[count:]) == sorted(e[:4] for e in expected[count:])
        unchanged = {t.key: str(t.version) for action, t in done if action == "unchanged"}
        for item, (_, thing) in zip(items, done[:count], strict=False):
            assert unchanged.get(thing.key, item["resourceVersion"]) == item["resourceVersion"]

    # -- both sides ------------------------------------------------------------------------------------

    def _addressed(self, space: str, addressed: str) -> tuple[dict[str, str], str | None]:
        """The namespace in the query, in the body, or as one's own."""
        slug = self.person.slugs[space]
        if addressed == "default" and space == HOME:
            return {}, "default"
        return ({}, slug) if addressed == "body" else ({"namespace": slug}, None)

    def _predicted(self, act: Act) -> tuple[Refused | None, Empty]:
        """What would be; the model stays as it is."""
        world = copy.deepcopy(self.world)
        world.tried = True
        try:
            return None, act(world)
        except Refused as refused:
            return refused, []

    async def _compare(self, name: str, answer: httpx.Response, status: int, act: Act) -> Empty | None:
        self.statuses.append((name, answer.status_code))
        refused, _ = self._predicted(act)
        if refused is not None:
            told = (answer.status_code, answer.json().get("code") if answer.content else None)
            assert told == (refused.status, refused.code), f"{name}: {answer.text}"
            return None
        assert answer.status_code == status, f"{name}: {answer.status_code} {answer.text}"
        self.world.acts += 1
        done = act(self.world)
        await self._number([(change, thing) for change, thing in done if change != "unchanged"])
        if status != 204 and name != "apply":
            self._check(answer.json(), done[0][1])
        for thing in list(self.world.living.values()):
            if None in self.world.held(thing).values():
                space, plural, own_name = thing.key
                self._check_tree(await self.person.get(f"{plural}/{own_name}/resolved", space), thing)
        return done

    async def _number(self, changed: Empty) -> None:
        """Looks up which versions, and of the new ones which ids, were given."""
        rows = await self._resources()
        by_key = {self._key(row): str(row["uid"]) for row in rows if row["deleted_at"] is None}
        for change, thing in changed:
            if change == "created":
                thing.uid = by_key[thing.key]
                assert thing.uid not in self._uids, "no two resources are the same one"
                self._uids.add(thing.uid)
        self.world.number(changed, {str(row["uid"]): row["version"] for row in rows})

    async def _resources(self) -> list[Any]:
        """All rows of this person."""
        wanted = [UUID(project) for project in self.person.projects.values()]
        found = await self._sql.fetch("select * from catalog.resources where project_id = any($1)", wanted)
        return list(found)

    def _key(self, row: Any) -> Key:
        spaces = {UUID(project): space for space, project in self.person.projects.items()}
        return spaces[row["project_id"]], PLURAL_OF[row["kind"]], row["name"]

    def _check(
        self, body: Any, thing: Thing, generation: int | None = None, state: str = "Available"
    ) -> None:
        """That this is the resource, as it is now or as it was at the end of a generation."""
        metadata = body["metadata"]
        space, plural, name = thing.key
        at = thing.generation if generation is None else generation
        version = thing.version if generation is None else thing.spans[at][1]
        assert (body["kind"], body["apiVersion"]) == (KIND_OF[plural], "signalbox.dev/v1")
        assert body["spec"] == thing.history[at][0]
        assert body["status"] == {"state": state}
        told = (metadata["name"], metadata["namespace"], metadata["uid"], metadata["generation"])
        assert told == (name, self.person.slugs[space], thing.uid, at)
        assert metadata["resourceVersion"] == str(version)
        if generation is None:
            assert metadata["labels"] == thing.labels

    # -- every read ------------------------------------------------------------------------------------

    async def agree(self) -> None:
        """Every read says what the model says."""
        slots = asyncio.Semaphore(8)

        async def one(check: Coroutine[Any, Any, None]) -> None:
            async with slots:
                await check

        checks = [self._lists(space, plural) for space in (HOME, OTHER) for plural in KIND_OF]
        checks += [self._reads(thing) for thing in self.world.living.values()]
        checks += [self._gone(thing.key) for thing in self.world.graves]
        await asyncio.gather(*(one(check) for check in checks))
        await self._tables()

    async def _lists(self, space: str, plural: str) -> None:
        get, head = self.person.get, str(self.world.heads[space])
        # Of all selectors, every kind of each namespace has some.
        turn = list(KIND_OF).index(plural) + (space == OTHER)
        for selector in ["", *list(SELECTORS)[1 + turn % 3 :: 3]]:
            page = await get(plural, space, labelSelector=selector)
            expected = self.world.selected(space, plural, selector)
            assert [item["metadata"]["name"] for item in page["items"]] == [
                thing.key[2] for thing in expected
            ]
            for item, thing in zip(page["items"], expected, strict=True):
                self._check(item, thing)
            assert (page["nextCursor"], page["resourceVersion"]) == (None, head)
        everything = self.world.selected(space, plural, "")
        if everything:
            first = await get(plural, space, limit=1)
            assert [item["metadata"]["name"] for item in first["items"]] == [everything[0].key[2]]
            if len(everything) > 1:
                second = await get(plural, space, limit=1, cursor=first["nextCursor"])
                assert [item["metadata"]["name"] for item in second["items"]] == [everything[1].key[2]]
        await self._deleted(space, plural)

    async def _deleted(self, space: str, plural: str) -> None:
        """The last one first; those that were deleted together in any order."""
        graves = {thing.uid: thing for thing in self.world.graves if thing.key[:2] == (space, plural)}
        items = (await self.person.get(plural, space, deleted="true"))["items"]
        assert sorted(item["metadata"]["uid"] for item in items) == sorted(graves)
        order = [graves[item["metadata"]["uid"]].deleted_by for item in items]
        assert order == sorted(order, reverse=True)
        for item in items:
            self._check(item, graves[item["metadata"]["uid"]])
            assert item["metadata"]["deletedAt"] is not None
        paged = await paged_through(self.person, plural, space, limit=1)
        assert sorted(paged) == sorted(graves), "page by page the same"

    async def _reads(self, thing: Thing) -> None:
        space, plural, name = thing.key
        where = f"{plural}/{name}"
        self._check(await self.person.get(where, space), thing)
        history = (await self.person.get(f"{where}/history", space))["items"]
        generations = range(thing.generation, 0, -1)
        assert [item["generation"] for item in history] == list(generations)
        assert [int(item["resourceVersion"]) for item in history] == [thing.spans[n][0] for n in generations]
        for number in generations:
            detail = await self.person.get(f"{where}/history/{number}", space)
            self._check(detail["resource"], thing, number)
            was, now = thing.history.get(number - 1), thing.history[number]
            assert bool(detail["diff"]) == (was != now), "a new key is a difference, too"
            check_changes(detail["diff"], {"spec": was[0]} if was is not None else {}, {"spec": now[0]})
        self._check_tree(await self.person.get(f"{where}/resolved", space), thing)

    def _check_tree(self, tree: Any, thing: Thing) -> None:
        held = self.world.held(thing)
        self._check(tree, thing, state="BrokenReference" if None in held.values() else "Available")
        assert tree["references"].keys() == held.keys()
        targets = self.world.targets(thing.key, thing.spec)
        for at, below in tree["references"].items():
            if (target := held[at]) is not None:
                self._check_tree(below, target)
                continue
            self.broken += 1
            space, plural, name = targets[at]
            where = {"kind": KIND_OF[plural], "namespace": self.person.slugs[space], "name": name}
            assert below == where | {"broken": True}

    async def _gone(self, key: Key) -> None:
        if key not in self.world.living:
            space, plural, name = key
            for path in ("", "/history", "/resolved", "/history/1"):
                answer = await self.person.request(
                    "GET", f"{plural}/{name}{path}", namespace=self.person.slugs[space]
                )
                assert (answer.status_code, answer.json()["code"]) == (404, "resource_not_found")

    async def _tables(self) -> None:
        """References, labels and keys, which no answer shows as they are stored."""
        rows = await self._resources()
        living = {row["uid"]: self._key(row) for row in rows if row["deleted_at"] is None}
        assert sorted(living.values()) == sorted(self.world.living)
        refs = await self._sql.fetch(
            "select refs.* from catalog.refs join catalog.resources on uid = any(array[from_uid, to_uid])"
            " where project_id = any($1)",
            [UUID(project) for project in self.person.projects.values()],
        )
        # A key that is not there is a reference from something that is deleted.
        found = {(living[ref["from_uid"]], ref["field"], str(ref["to_uid"])) for ref in refs}
        uids = {thing.number: thing.uid for thing in (*self.world.living.values(), *self.world.graves)}
        assert found == {
            (thing.key, at, uids[number])
            for thing in self.world.living.values()
            for at, number in thing.bound.items()
        }
        for row in rows:
            thing = self.world.living.get(self._key(row)) if row["deleted_at"] is None else None
            if thing is not None:
                secrets = {
                    at: StoredSecret(entry["bundle"], entry["mark"])
                    for at, entry in json.loads(row["secrets"]).items()
                }
                expected = {"/modelConfig/env/api_key": thing.secret} if thing.secret is not None else {}
                assert await self._vault.reveal(secrets) == expected
