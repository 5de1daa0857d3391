"""Whatever sequence of changes comes: the catalog says what a small model of it says."""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.vault import Vault
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.sse import outbox_is_empty, published

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

T = TypeVar("T")
Spec = dict[str, Any]
Key = tuple[str, str, str]
"""Which of the two namespaces, the plural of the kind, the name."""
Done = list[tuple[str, "Thing"]]
"""What has become of which: created, updated, unchanged, deleted, restored."""
Act = Callable[["World"], Done]

HOME, OTHER = "home", "other"
MASK = "***"
KIND_OF = {
    "models": "Model",
    "shells": "Shell",
    "skills": "Skill",
    "ghosts": "Ghost",
    "bots": "Bot",
    "teams": "Team",
}
PLURAL_OF = {kind: plural for plural, kind in KIND_OF.items()}
BOT_FIELDS = {"ghostRef": "ghosts", "shellRef": "shells", "modelRef": "models"}
NEEDED = {"bots": ("ghostRef", "shellRef"), "teams": ("members",)}
SELECTORS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "": lambda _labels: True,
    "tier=x": lambda labels: labels.get("tier") == "x",
    "tier!=x": lambda labels: labels.get("tier") != "x",
    "tier": lambda labels: "tier" in labels,
    "!tier": lambda labels: "tier" not in labels,
    "tier in (x, y),team=a": lambda labels: labels.get("tier") in ("x", "y") and labels.get("team") == "a",
    "team notin (a),tier": lambda labels: labels.get("team") != "a" and "tier" in labels,
}

ONCE_EACH = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # what fails is shown as it came: making it smaller takes longer than a run may
    suppress_health_check=list(HealthCheck),
)


# -- the model -----------------------------------------------------------------------------------------


class Refused(Exception):
    """What the model would answer instead of doing it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


MISSING = Refused(404, "resource_not_found")
MOVED = Refused(409, "version_conflict")
UNFIT = Refused(422, "validation_failed")


@dataclass(frozen=True)
class Doc:
    """What somebody writes; `@home` and `@other` stand for the names of the namespaces."""

    space: str
    plural: str
    name: str
    spec: Spec
    labels: dict[str, str] = field(default_factory=dict)
    version: str | None = None

    @property
    def key(self) -> Key:
        return self.space, self.plural, self.name


@dataclass
class Thing:
    """A resource, living or deleted, and all that it was."""

    key: Key
    uid: str
    spec: Spec
    secret: str | None
    labels: dict[str, str]
    generation: int = 0
    version: int = 0
    history: dict[int, tuple[Spec, str | None]] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The first and the last version of each generation."""
    deleted_by: int = 0
    """Which of all changes has deleted it."""

    def note(self) -> None:
        self.history[self.generation] = (self.spec, self.secret)
        first = self.spans.get(self.generation, (self.version, 0))[0]
        self.spans[self.generation] = (first, self.version)


def named(plural: str, spec: Spec) -> dict[str, tuple[str, str, str | None]]:
    """What a spec refers to, by field: plural, name, namespace."""
    if plural == "ghosts":
        where = spec.get("skill_refs", {})
        return {
            f"skills.{n}": ("skills", name, where.get(name, {}).get("namespace"))
            for n, name in enumerate(spec.get("skills", []))
        }
    if plural == "bots":
        given = {name: spec[name] for name in BOT_FIELDS if name in spec}
        return {f: (BOT_FIELDS[f], ref["name"], ref.get("namespace")) for f, ref in given.items()}
    if plural == "teams":
        members = [member["botRef"] for member in spec["members"]]
        return {
            f"members.{n}.botRef": ("bots", ref["name"], ref.get("namespace"))
            for n, ref in enumerate(members)
        }
    return {}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as its own pseudocode has it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _check_needed(doc: Doc) -> None:
    if any(needed not in doc.spec for needed in NEEDED.get(doc.plural, ())):
        raise UNFIT


class World:
    """Two namespaces of one person, as they must be."""

    def __init__(self, slugs: dict[str, str]) -> None:
        self.slugs = slugs
        self.living: dict[Key, Thing] = {}
        self.graves: list[Thing] = []
        self.heads = {HOME: 0, OTHER: 0}
        self.log: dict[str, list[tuple[str, str, str, int, int]]] = {HOME: [], OTHER: []}
        self.acts = 0

    def settled(self, spec: Spec) -> Spec:
        """With the own namespace called by its name, wherever `default` stands for it."""
        text = json.dumps(spec).replace('"namespace": "default"', f'"namespace": "{self.slugs[HOME]}"')
        settled: Spec = json.loads(text)
        return settled

    def targets(self, key: Key, spec: Spec) -> dict[str, Key]:
        space_of = {slug: space for space, slug in self.slugs.items()}
        return {
            at: (space_of[namespace] if namespace else key[0], plural, name)
            for at, (plural, name, namespace) in named(key[1], spec).items()
        }

    def referrers(self, keys: Iterable[Key]) -> list[Thing]:
        wanted = set(keys)
        return [t for t in self.living.values() if wanted & set(self.targets(t.key, t.spec).values())]

    def selected(self, space: str, plural: str, selector: str) -> list[Thing]:
        fits = SELECTORS[selector]
        found = [t for t in self.living.values() if t.key[:2] == (space, plural) and fits(t.labels)]
        return sorted(found, key=lambda thing: thing.key)

    # -- changes: what they change, or Refused -----------------------------------------------------------

    def write(
        self,
        docs: Sequence[Doc],
        *,
        exists: bool | None = None,
        version: str | None = None,
        many: bool = False,
    ) -> Done:
        """What becomes of each document: created, updated, unchanged."""
        decided: Done = []
        refused: list[Refused] = []
        for doc in docs:
            try:
                decided.append(self._decided(doc, exists, version))
            except Refused as no:
                refused.append(Refused(409, "conflict") if many and no is MOVED else no)
        if refused:
            raise next((no for no in refused if no.status == 422), refused[0])
        there = {**self.living, **{thing.key: thing for _, thing in decided}}
        for action, thing in decided:
            if action != "unchanged" and set(self.targets(thing.key, thing.spec).values()) - there.keys():
                raise UNFIT
        self.living = there
        return decided

    def _decided(self, doc: Doc, exists: bool | None, version: str | None) -> tuple[str, Thing]:
        now = self.living.get(doc.key)
        if now is None and exists:
            raise MISSING
        if now is not None and exists is False:
            raise Refused(409, "already_exists")
        if now is not None and version not in (None, str(now.version)):
            raise MOVED
        spec, secret = self._kept_apart(doc, now)
        after = Thing(doc.key, "", spec, secret, doc.labels)
        if now is None:
            after.generation = 1
            return "created", after
        if (spec, secret, doc.labels) == (now.spec, now.secret, now.labels):
            return "unchanged", now
        if doc.version not in (None, str(now.version)):
            raise MOVED
        after = copy.deepcopy(now)
        after.spec, after.secret, after.labels = spec, secret, doc.labels
        after.generation += (spec, secret) != (now.spec, now.secret)
        return "updated", after

    def _kept_apart(self, doc: Doc, now: Thing | None) -> tuple[Spec, str | None]:
        """The spec with `***` for its key, and the key."""
        _check_needed(doc)
        spec = self.settled(doc.spec)
        given = spec["modelConfig"]["env"].get("api_key") if doc.plural == "models" else None
        if given is None:
            return spec, None
        spec["modelConfig"]["env"]["api_key"] = MASK
        if given != MASK:
            return spec, given
        if now is None or now.secret is None:
            raise UNFIT
        return spec, now.secret

    def patch(self, key: Key, patch: Spec, version: str | None) -> Done:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if version not in (None, str(now.version)):
            raise MOVED
        said = merged({"metadata": {"labels": now.labels}, "spec": now.spec}, patch)
        metadata = said["metadata"]
        doc = Doc(*key, said["spec"], metadata.get("labels", {}), metadata.get("resourceVersion"))
        _check_needed(doc)
        if doc.version not in (None, str(now.version)):
            raise MOVED
        return self.write([doc], exists=True)

    def delete(self, key: Key, *, cascade: bool, version: str | None) -> list[Thing]:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if version not in (None, str(now.version)):
            raise MOVED
        doomed = [now]
        while more := [t for t in self.referrers(t.key for t in doomed) if t not in doomed]:
            if not cascade or any(t.key[0] != key[0] for t in more):
                raise Refused(409, "still_referenced")
            doomed += more
        return self._buried(doomed)

    def prune(self, spaces: set[str], selector: str, wished: set[Key]) -> list[Thing]:
        doomed = [
            thing
            for key, thing in self.living.items()
            if key[0] in spaces and key not in wished and SELECTORS[selector](thing.labels)
        ]
        if any(thing not in doomed for thing in self.referrers(t.key for t in doomed)):
            raise Refused(409, "still_referenced")
        return self._buried(doomed)

    def _buried(self, doomed: list[Thing]) -> list[Thing]:
        for thing in doomed:
            del self.living[thing.key]
            thing.deleted_by = self.acts
        self.graves += doomed
        return doomed

    def restore(self, key: Key) -> Thing:
        if key in self.living:
            raise Refused(409, "already_exists")
        found = [thing for thing in self.graves if thing.key == key]
        if not found:
            raise Refused(404, "nothing_deleted")
        last = max(found, key=lambda thing: thing.deleted_by)
        if set(self.targets(key, last.spec).values()) - self.living.keys():
            raise UNFIT
        self.graves.remove(last)
        self.living[key] = last
        return last

    def roll_back(self, key: Key, generation: int, version: str | None) -> tuple[str, Thing]:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if generation not in now.history:
            raise Refused(404, "generation_not_found")
        if version not in (None, str(now.version)):
            raise MOVED
        spec, secret = now.history[generation]
        if (spec, secret) == (now.spec, now.secret):
            return "unchanged", now
        if set(self.targets(key, spec).values()) - self.living.keys():
            raise UNFIT
        now.spec, now.secret = spec, secret
        now.generation += 1
        return "updated", now

    def number(self, changed: Sequence[tuple[str, Thing]], versions: Mapping[str, int]) -> None:
        """Takes the numbers that were given, if they are the next ones, and in a good order."""
        for space, head in self.heads.items():
            ours = [(change, thing) for change, thing in changed if thing.key[0] == space]
            given = sorted(versions[thing.uid] for _, thing in ours)
            assert given == list(range(head + 1, head + 1 + len(ours))), "each change has the next number"
            self.heads[space] += len(ours)
            for change, thing in sorted(ours, key=lambda each: versions[each[1].uid]):
                thing.version = versions[thing.uid]
                thing.note()
                _, plural, name = thing.key
                self.log[space].append((change, KIND_OF[plural], name, thing.version, thing.generation))
        self._check_order(changed)

    def _check_order(self, changed: Sequence[tuple[str, Thing]]) -> None:
        at = {thing.key: (change, thing.version) for change, thing in changed}
        for change, thing in changed:
            for target in self.targets(thing.key, thing.spec).values():
                if target[0] != thing.key[0] or target not in at:
                    continue  # numbers of two namespaces say nothing about each other
                other, version = at[target]
                if (change == "deleted") == (other == "deleted"):
                    first = thing.version < version
                    assert first == (change == "deleted"), "what is referred to comes first, and goes last"


# -- the same through the gateway ------------------------------------------------------------------------


@dataclass
class Person:
    """Somebody with two namespaces: the own one, and one more."""

    catalog: Catalog
    installation: Installation
    headers: dict[str, str]
    slugs: dict[str, str]
    projects: dict[str, str]
    notes: list[str] = field(default_factory=list)
    """What was asked, and the status of the answer."""

    @staticmethod
    async def new(catalog: Catalog, installation: Installation, number: int) -> "Person":
        http = catalog.http
        headers = await http.sign_up(f"person-{number}")
        await http.post("/api/v1/projects", json={"name": "x", "slug": f"other-{number}"}, headers=headers)
        found = (await http.get("/api/v1/projects", headers=headers)).json()["items"]
        spaces = {HOME if item["personal"] else OTHER: item for item in found}
        assert set(spaces) == {HOME, OTHER}
        slugs = {space: item["slug"] for space, item in spaces.items()}
        return Person(catalog, installation, headers, slugs, {s: item["id"] for s, item in spaces.items()})

    def written(self, value: T) -> T:
        """With the names of the namespaces put in."""
        text = json.dumps(value)
        for space, slug in self.slugs.items():
            text = text.replace(f'"@{space}"', f'"{slug}"')
        filled: T = json.loads(text)
        return filled

    def written_doc(self, doc: Doc, version: str | None = None) -> Doc:
        return replace(doc, spec=self.written(doc.spec), version=version)

    def document(self, doc: Doc, namespace: str | None) -> Spec:
        metadata: Spec = {"name": doc.name, "labels": doc.labels}
        if namespace is not None:
            metadata["namespace"] = namespace
        if doc.version is not None:
            metadata["resourceVersion"] = doc.version
        header = {"apiVersion": "signalbox.dev/v1", "kind": KIND_OF[doc.plural]}
        return header | {"metadata": metadata, "spec": doc.spec}

    def text(self, docs: Iterable[Doc]) -> str:
        return yaml.safe_dump_all([self.document(doc, self.slugs[doc.space]) for doc in docs])

    async def request(
        self, method: str, path: str, body: Any = None, *, match: str | None = None, **query: Any
    ) -> httpx.Response:
        headers = self.headers | ({"If-Match": f'"{match}"'} if match is not None else {})
        answer = await self.catalog.http.request(
            method, f"{KINDS}/{path}", json=body, params=query, headers=headers
        )
        if method != "GET":
            self.notes.append(f"{method} {path} {query} {body} If-Match {match}: {answer.status_code}")
        return answer

    async def get(self, path: str, space: str, **query: Any) -> Any:
        answer = await self.request("GET", path, namespace=self.slugs[space], **query)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()

    async def apply(self, text: str, **query: Any) -> httpx.Response:
        answer = await self.catalog.apply(text, self.headers, **query)
        self.notes.append(f"apply {query}: {answer.status_code}\n{text}")
        return answer

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        async with self.installation.sql() as connection:
            return list(await connection.fetch(statement, *values))


class Walk:
    """One sequence of changes: each is asked of the catalog and of the model, and both must say the same."""

    def __init__(self, person: Person, vault: Vault, sql: Any) -> None:
        self.person = person
        self.world = World(person.slugs)
        self.statuses: list[tuple[str, int]] = []
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

        def act(world: World) -> Done:
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

        def act(world: World) -> Done:
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

    def _check_items(self, answer: httpx.Response, count: int, refused: Refused | None, done: Done) -> None:
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

    def _predicted(self, act: Act) -> tuple[Refused | None, Done]:
        """What would be; the model stays as it is."""
        try:
            return None, act(copy.deepcopy(self.world))
        except Refused as refused:
            return refused, []

    async def _compare(self, name: str, answer: httpx.Response, status: int, act: Act) -> Done | None:
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
        return done

    async def _number(self, changed: Done) -> None:
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

    def _check(self, body: Any, thing: Thing, generation: int | None = None) -> None:
        """That this is the resource, as it is now or as it was at the end of a generation."""
        metadata = body["metadata"]
        space, plural, name = thing.key
        at = thing.generation if generation is None else generation
        version = thing.version if generation is None else thing.spans[at][1]
        assert (body["kind"], body["apiVersion"]) == (KIND_OF[plural], "signalbox.dev/v1")
        assert body["spec"] == thing.history[at][0]
        assert body["status"] == {"state": "Available"}
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
        self._check(tree, thing)
        targets = self.world.targets(thing.key, thing.spec)
        assert tree["references"].keys() == targets.keys()
        for at, below in tree["references"].items():
            self._check_tree(below, self.world.living[targets[at]])

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
        # A key that is not there is a reference to, or from, something that is deleted.
        found = {(living[ref["from_uid"]], ref["field"], living[ref["to_uid"]]) for ref in refs}
        assert found == {
            (thing.key, at, target)
            for thing in self.world.living.values()
            for at, target in self.world.targets(thing.key, thing.spec).items()
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


async def paged_through(person: Person, plural: str, space: str, *, limit: int) -> list[str]:
    """The ids of the deleted ones, page by page."""
    found: list[str] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = await person.get(plural, space, deleted="true", limit=limit, **cursor)
        found += [item["metadata"]["uid"] for item in page["items"]]
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else None
    return found


def looked_up(value: Any, pointer: str) -> Any:
    for escaped in pointer.split("/")[1:]:
        step = escaped.replace("~1", "/").replace("~0", "~")
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


# -- sequences of changes --------------------------------------------------------------------------------

FIRST, SECOND = "sk-live-first-5d1f", "sk-live-second-77ab"
NAMES = ("a", "b")
LENGTH = 40
"""Changes of one sequence."""


def model_spec(model: str, api_key: str | None) -> Spec:
    env = {"model": "openai", "model_id": model}
    return {"modelConfig": {"env": env | ({"api_key": api_key} if api_key is not None else {})}}


EVERYTHING = [
    Doc(space, plural, name, spec)
    for space in (HOME, OTHER)
    for name in NAMES
    for plural, spec in (
        ("skills", {"description": "one"}),
        ("shells", {"shellType": "one"}),
        ("models", model_spec("one", FIRST)),
        ("ghosts", {"systemPrompt": "one", "skills": ["a"]}),
        ("bots", {"ghostRef": {"name": "a"}, "shellRef": {"name": "a"}, "modelRef": {"name": "a"}}),
        ("teams", {"members": [{"botRef": {"name": "a"}}], "collaborationModel": "solo"}),
    )
]


class Fancy:
    """What somebody comes up with next: mostly what makes sense, sometimes not."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def of(self, *options: T) -> T:
        return self.random.choice(options)

    def maybe(self, how_likely: float = 0.5) -> bool:
        return self.random.random() < how_likely

    def mostly(self) -> bool:
        return self.maybe(0.85)

    def key(self, among: Iterable[Key] = ()) -> Key:
        """Mostly one of those."""
        found = sorted(among)
        if found and self.mostly():
            return self.random.choice(found)
        return self.of(HOME, OTHER), self.of(*KIND_OF), self.of(*NAMES)

    def version(self) -> str:
        return self.of("none", "none", "none", "none", "current", "current", "stale")

    def addressed(self) -> str:
        return self.of("query", "body", "default")

    def ref(self) -> Spec:
        namespace = self.of(None, None, None, "@home", "@other", "default")
        return {"name": self.of(*NAMES)} | ({"namespace": namespace} if namespace else {})

    def api_key(self) -> str | None:
        return self.of(None, FIRST, FIRST, SECOND, SECOND, MASK)

    def skills(self) -> list[str]:
        return self.random.sample(NAMES, self.of(0, 1, 1, 2))

    def members(self) -> list[Spec]:
        return [{"botRef": self.ref()} for _ in range(self.of(0, 1, 1, 2))]

    def word(self) -> str:
        return self.of("one", "two")

    def labels(self) -> dict[str, str]:
        some = {"tier": self.of("x", "x", "y", "z"), "team": self.of("a", "b", "")}
        return {key: value for key, value in some.items() if self.maybe()}

    def spec(self, plural: str) -> Spec:
        match plural:
            case "skills":
                return {"description": self.word()}
            case "shells":
                return {"shellType": self.word()}
            case "models":
                return model_spec(self.word(), self.api_key())
            case "ghosts":
                where = {name: {"namespace": self.of("@home", "@other")} for name in self.skills()}
                more: Spec = {"skill_refs": where} if self.maybe() else {}
                return {"systemPrompt": self.word(), "skills": self.skills()} | more
            case "bots":
                spec = {"ghostRef": self.ref(), "shellRef": self.ref()}
                return spec | ({"modelRef": self.ref()} if self.maybe() else {})
            case _:
                return {"members": self.members(), "collaborationModel": self.of("solo", "pipeline")}

    def patch(self, plural: str) -> Spec:
        patch: Spec = {}
        if self.maybe(2 / 3):
            patch["spec"] = self._spec_patch(plural)
        if self.maybe():
            patch["metadata"] = {"labels": {"tier": self.of(None, "x", "y")}}
        return patch

    def _spec_patch(self, plural: str) -> Spec:
        match plural:
            case "models":
                return {"modelConfig": {"env": {"api_key": self.api_key()}}}
            case "ghosts":
                return self.of({"systemPrompt": self.word()}, {"skills": self.of(None, self.skills())})
            case "bots":
                at = self.of("ghostRef", "shellRef", "modelRef", "modelRef")
                return {at: None if self.maybe(0.15) or at == "modelRef" else self.ref()}
            case "teams":
                return self.of(
                    {"members": self.members()}, {"collaborationModel": self.of("solo", "pipeline")}
                )
            case _:
                return self.spec(plural)

    def doc(self, among: Iterable[Key] = ()) -> Doc:
        key = self.key(among)
        return Doc(*key, self.spec(key[1]), self.labels())

    def docs(self) -> list[tuple[Doc, str]]:
        docs = [self.doc() for _ in range(self.of(1, 2, 3, 4))]
        if self.mostly():
            docs = list({doc.key: doc for doc in docs}.values())
        return [(doc, self.version()) for doc in docs]

    async def step(self, walk: Walk) -> None:
        """One more change."""
        living, graves = walk.world.living, {thing.key for thing in walk.world.graves}
        name = self.of(*STEPS)
        match name:
            case "create":
                everywhere = {doc.key for doc in EVERYTHING}
                await walk.create(self.doc(everywhere - living.keys()), self.addressed())
            case "replace":
                await walk.replace(self.doc(living), self.addressed(), self.version(), self.version())
            case "patch":
                key = self.key(living)
                await walk.patch(key, self.patch(key[1]), self.version(), self.version())
            case "delete":
                await walk.delete(self.key(living), self.version(), cascade=self.maybe())
            case "restore":
                await walk.restore(self.key(graves - living.keys() or graves))
            case "roll back":
                key = self.key(living)
                there = living[key].generation if key in living else 1
                await walk.roll_back(
                    key, self.of(*range(1, there + 1), there + self.of(0, 1)), self.version()
                )
            case _:
                prune = self.of(None, None, None, *SELECTORS)
                await walk.apply(self.docs(), dry_run=self.maybe(1 / 3), prune=prune)


STEPS = (
    *("create",) * 4,
    *("replace",) * 4,
    *("patch",) * 5,
    *("delete",) * 3,
    *("restore",) * 3,
    *("roll back",) * 3,
    *("apply",) * 5,
)


def vault_of(catalog: Catalog) -> Vault:
    """The secret store of a running catalog, as it uses it itself."""
    its: Any = catalog.service.settings
    secret_key = its.secret_key.get_secret_value()
    keys = KeyFile(its.secrets_dir / "catalog.keys", secret_key)
    return Vault(LocalSecrets(catalog.service.database, keys), secret_key)


async def tried(examine: Callable[..., Coroutine[Any, Any, None]], examples: int, **given_as: Any) -> None:
    """Lets hypothesis call what is asynchronous, in the loop of the test."""
    loop = asyncio.get_running_loop()

    def one(**values: Any) -> None:
        asyncio.run_coroutine_threadsafe(examine(**values), loop).result(60)

    await asyncio.to_thread(settings(ONCE_EACH, max_examples=examples)(given(**given_as)(one)))


async def test_any_sequence_of_changes_leaves_what_a_model_says(installation: Installation) -> None:
    walks: list[Walk] = []
    async with catalog_of(installation) as catalog, installation.sql() as sql:
        vault = vault_of(catalog)

        async def sequence(random: Random) -> None:
            walk = Walk(await Person.new(catalog, installation, len(walks)), vault, sql)
            walks.append(walk)
            fancy = Fancy(random)
            try:
                first = [doc for doc in EVERYTHING if doc.name == "a" or fancy.maybe()]
                await walk.apply([(doc, "none") for doc in first])
                for _ in range(LENGTH):
                    await fancy.step(walk)
                await walk.agree()
            except AssertionError as error:
                error.add_note("\n".join(["The changes, the last one last:", *walk.person.notes]))
                raise

        await tried(sequence, 10, random=st.randoms(use_true_random=True))
        await outbox_is_empty(installation)
        for walk in walks:
            for space, project in walk.person.projects.items():
                told = await published(installation, project)
                seen = [(each.change, each.kind, each.name, each.version, each.generation) for each in told]
                assert seen == walk.world.log[space], "each change is told once, in order"
    done = Counter(status for walk in walks for status in walk.statuses)
    print(f"{len(walks)} sequences, {done.total()} changes: {sorted(done.items())}")
    assert {name for name, status in done if status < 300} == {*STEPS, "dry run"}
    assert {status for _, status in done} == {200, 201, 204, 404, 409, 422}


# -- sets of documents ---------------------------------------------------------------------------------


class Author(Fancy):
    """Writes sets of good documents: whatever they refer to is among them, in any of its spellings."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.there: dict[str, list[tuple[str, str]]] = {plural: [] for plural in KIND_OF}
        """By plural: namespace and name."""

    def good(self) -> list[Doc]:
        docs = []
        for plural in KIND_OF:
            for space in (HOME, OTHER):
                for name in ("a", "b", "c"):
                    if self.maybe(0.6) and self._possible(plural):
                        docs.append(Doc(space, plural, name, self.good_spec(plural, space), self.labels()))
                        self.there[plural].append((space, name))
        return docs

    def _possible(self, plural: str) -> bool:
        return plural != "bots" or bool(self.there["ghosts"] and self.there["shells"])

    def good_spec(self, plural: str, space: str) -> Spec:
        """Also in short, with what is not known, and with keys in several places."""
        match plural:
            case "models":
                return self._model()
            case "shells":
                return {
                    self.of("shellType", "type", "runtime"): self.word(),
                    "description": self.of(None, "d"),
                }
            case "skills":
                version = self.of(1, 2.5, "3")
                return {"description": self.word(), "version": version, "mcpServers": self._servers()}
            case "ghosts":
                return self._ghost(space)
            case "bots":
                more = {"modelRef": self._to("models", space)} if self.there["models"] else {"modelRef": None}
                return {"ghostRef": self._to("ghosts", space), "shellRef": self._to("shells", space)} | more
            case _:
                return self._team(space)

    def _to(self, plural: str, space: str) -> Any:
        where, name = self.random.choice(self.there[plural])
        if where == space and self.maybe():
            return self.of(
                name, {"name": name}, {"name": name, "namespace": ""}, {"name": name, "namespace": None}
            )
        return {"name": name, "namespace": f"@{where}"}

    def _model(self) -> Spec:
        key = self.of(None, f"sk-live-{self.random.getrandbits(40):x}")
        if self.maybe():
            short = {"provider": "openai", "model": self.word(), "temperature": self.of(0, 1, 1.0, 0.1, 1.5)}
            return short | ({"apiKey": key} if key else {})
        odd = {"isCustomConfig": self.maybe(), "odd": [1, 2.5, None, {"deep": [True, "x\u2028y"]}]}
        return model_spec(self.word(), key) | odd

    def _servers(self) -> Any:
        if self.maybe():
            return None
        secret = f"ghp_{self.random.getrandbits(120):030x}"
        env = {"GITHUB_TOKEN": secret, "COUNT": 1, "NOTHING": None, "PLAIN": "x"}
        headers = {"Authorization": f"Bearer {secret}"}
        return {
            "one": {"command": "serve", "args": ["--api-key", secret, "-v"], "env": env},
            "two/~": {"url": "https://example.com/mcp", "headers": headers},
        }

    def _ghost(self, space: str) -> Spec:
        skills = self.random.sample(self.there["skills"], min(len(self.there["skills"]), self.of(0, 1, 2)))
        by_name = {name: where for where, name in skills}
        named: Spec = {
            name: {"namespace": f"@{w}"} for name, w in by_name.items() if w != space or self.maybe()
        }
        more = {"skills": list(by_name), "skill_refs": named} if by_name else {}
        return {"systemPrompt": "One.\n\nTwo: “three”.", "mcpServers": self._servers()} | more

    def _team(self, space: str) -> Spec:
        bots = [self._to("bots", space) for _ in range(self.of(0, 1, 2))] if self.there["bots"] else []
        if self.maybe():
            return {"bots": bots}
        members = [{"botRef": bot, "role": self.word()} for bot in bots]
        return {"members": members, "collaborationModel": self.of("solo", "pipeline")}

    def text(self, person: Person, docs: Iterable[Doc]) -> str:
        """YAML or a stream of JSON."""
        filled = [person.document(person.written_doc(doc), person.slugs[doc.space]) for doc in docs]
        if self.maybe():
            return "\n".join(json.dumps(document) for document in filled)
        return yaml.safe_dump_all(filled, sort_keys=self.maybe(), allow_unicode=self.maybe())


async def dump(installation: Installation, *, without: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every row of every table of the catalog."""
    async with installation.sql() as sql:
        tables = await sql.fetch(
            "select table_name from information_schema.tables where table_schema = 'catalog' order by 1"
        )
        names = [str(row["table_name"]) for row in tables]
        assert {"resources", "refs", "labels", "revisions", "namespaces", "secrets", "inbox"} <= set(names)
        return {
            name: [row[0] for row in await sql.fetch(f"select t::text from catalog.{name} t order by 1")]
            for name in names
            if name not in without
        }


async def listed(person: Person) -> dict[Key, Any]:
    """All that there is."""

    async def some(space: str, plural: str) -> dict[Key, Any]:
        items = (await person.get(plural, space))["items"]
        return {(space, plural, item["metadata"]["name"]): item for item in items}

    pages = await asyncio.gather(*(some(space, plural) for space in person.slugs for plural in KIND_OF))
    return {key: item for page in pages for key, item in page.items()}


async def everything(person: Person) -> dict[Key, Any]:
    """All that there is, with nothing in it that would be another's."""
    text = json.dumps([[key, item] for key, item in (await listed(person)).items()])
    for space, slug in person.slugs.items():
        text = text.replace(f'"{slug}"', f'"@{space}"')
    names = ("labels", "annotations", "displayName", "generation", "namespace")
    return {
        tuple(key): {"spec": item["spec"]} | {name: item["metadata"][name] for name in names}
        for key, item in json.loads(text)
    }


def actions(answer: httpx.Response) -> Counter[str]:
    assert answer.status_code == 200, answer.text
    return Counter(item["action"] for item in answer.json()["items"])


async def test_applying_again_changes_nothing_and_order_does_not_matter(installation: Installation) -> None:
    sizes: list[int] = []
    async with catalog_of(installation) as catalog:
        people = 0

        async def newcomer() -> Person:
            nonlocal people
            people += 1
            return await Person.new(catalog, installation, people)

        async def example(random: Random) -> None:
            author = Author(random)
            docs = author.good()
            if not docs:
                return
            sizes.append(len(docs))
            person, other = await newcomer(), await newcomer()
            text = author.text(person, docs)
            first = await person.apply(text)
            assert actions(first) == {"created": len(docs)}, text
            await outbox_is_empty(installation)
            tables = await dump(installation, without=["inbox", "outbox"])
            told = [len(await published(installation, project)) for project in person.projects.values()]
            assert sum(told) == len(docs)
            again = [text, author.text(person, author.random.sample(docs, len(docs)))]
            for number, same in enumerate(again):
                answer = await person.apply(same)
                assert actions(answer) == {"unchanged": len(docs)}, f"{number}: {answer.text}\n{text}"
            assert await dump(installation, without=["inbox", "outbox"]) == tables, text
            await outbox_is_empty(installation)
            assert told == [len(await published(installation, p)) for p in person.projects.values()]

            shuffled = author.random.sample(docs, len(docs))
            theirs = await other.apply(author.text(other, shuffled))
            assert actions(theirs) == {"created": len(docs)}
            names = [(item["kind"], item["name"]) for item in theirs.json()["items"]]
            assert names == [(KIND_OF[doc.plural], doc.name) for doc in shuffled], "in the order of documents"
            assert await everything(other) == await everything(person), text

        await tried(example, 10, random=st.randoms(use_true_random=True))
    print(f"{len(sizes)} sets of {min(sizes)} to {max(sizes)} documents")
    assert max(sizes) > 20


async def test_a_dry_run_changes_nothing_and_tells_what_will_be(installation: Installation) -> None:
    seen: Counter[str] = Counter()
    async with catalog_of(installation) as catalog:
        people = 0

        async def example(random: Random) -> None:
            nonlocal people
            people += 1
            author = Author(random)
            person = await Person.new(catalog, installation, people)
            docs = author.good()
            if docs:
                assert actions(await person.apply(author.text(person, docs)))["created"] == len(docs)
            wished = [changed(author, doc) for doc in docs if author.mostly()]
            wished += [doc for doc in [author.doc()] if doc.key not in {other.key for other in wished}]
            text = author.text(person, author.random.sample(wished, len(wished)))
            selector = author.of(None, None, "tier=x", "tier", "team in (a, b)")
            query = {"prune": "true", "labelSelector": selector} if selector else {}
            await outbox_is_empty(installation)
            tables, before = await dump(installation), await said(person)
            dry = await person.apply(text, dryRun="true", **query)
            await outbox_is_empty(installation)
            assert await dump(installation) == tables, "a dry run leaves no trace"
            real = await person.apply(text, **query)
            assert dry.status_code == real.status_code, (dry.text, real.text)
            seen[str(real.status_code)] += 1
            if real.status_code != 200:
                assert _without_ids(dry.json()) == _without_ids(real.json())
                await outbox_is_empty(installation)
                # Keys of a write that failed lie about for an hour; what is asked for once is remembered.
                left = await dump(installation, without=["inbox", "secrets"])
                assert left == {table: tables[table] for table in left}
                return
            seen.update(actions(real))
            after = await said(person)
            spaces = {slug: space for space, slug in person.slugs.items()}
            foretold = sorted(dry.json()["items"], key=_order)
            done = sorted(real.json()["items"], key=_order)
            assert dry.json()["dryRun"] is True
            assert real.json()["dryRun"] is False
            for told, item in zip(foretold, done, strict=True):
                diff = told.pop("diff")
                assert item.pop("diff") is None
                assert told == item
                key = spaces[item["namespace"]], PLURAL_OF[item["kind"]], item["name"]
                assert bool(diff) == (item["action"] != "unchanged")
                if item["action"] in ("created", "deleted"):  # what was not said is not shown
                    check_changes(diff, _brief(before.get(key, {})), _brief(after.get(key, {})))
                else:
                    check_changes(diff or [], before[key], after[key])

        await tried(example, 16, random=st.randoms(use_true_random=True))
    print(f"{people} dry runs: {sorted(seen.items())}")
    assert {"200", "422", "created", "updated", "unchanged", "deleted"} <= seen.keys()


def changed(author: Author, doc: Doc) -> Doc:
    """The same, or with other labels, or another spec."""
    if author.maybe(0.3):
        return replace(doc, labels=author.labels())
    return replace(doc, spec=author.good_spec(doc.plural, doc.space)) if author.maybe(0.4) else doc


async def said(person: Person) -> dict[Key, Any]:
    """What documents say, of everything that there is."""
    names = ("displayName", "labels", "annotations")
    return {
        key: {"metadata": {name: item["metadata"][name] for name in names}, "spec": item["spec"]}
        for key, item in (await listed(person)).items()
    }


def _brief(said: dict[str, Any]) -> dict[str, Any]:
    """Without the metadata that is empty."""
    metadata = {name: value for name, value in said.get("metadata", {}).items() if value}
    return {name: said[name] for name in ("spec",) if said} | ({"metadata": metadata} if metadata else {})


def check_changes(changes: Any, before: Any, after: Any) -> None:
    """That each tells the truth, and that nothing else differs."""
    told = {change["path"] for change in changes}
    for change in changes:
        if change["op"] != "add":
            assert looked_up(before, change["path"]) == change["old"]
        if change["op"] != "remove":
            assert looked_up(after, change["path"]) == change["new"]
    for path in differing(before, after):
        steps = path.split("/")
        above = {"/".join(steps[:n]) for n in range(2, len(steps) + 1)}
        assert above & told, f"{path} differs, and nothing of it is told"


def differing(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Where two documents differ; of lists only that they do."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() | after.keys():
            where = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in before or name not in after:
                yield where
            else:
                yield from differing(before[name], after[name], where)
    elif before != after and not isinstance(before, list):
        yield at


def _order(item: Any) -> tuple[Any, ...]:
    return item["document"] or 0, item["namespace"], item["kind"], item["name"]


def _without_ids(problem: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in problem.items() if key != "correlationId"}


# -- what the sequences have found ---------------------------------------------------------------------


async def test_default_is_the_own_namespace_wherever_it_is_written(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        for plural in ("ghosts", "shells"):
            await person.request("POST", plural, person.document(Doc(HOME, plural, "a", SMALL[plural]), None))
        home = {"name": "a", "namespace": "default"}
        bot = person.document(
            Doc(OTHER, "bots", "b", {"ghostRef": home, "shellRef": home}), person.slugs[OTHER]
        )
        made = await person.request("POST", "bots", bot)
        assert made.status_code == 201, made.text
        there = {"name": "a", "namespace": person.slugs[HOME]}
        assert made.json()["spec"] == {"ghostRef": there, "shellRef": there}
        assert actions(await person.apply(json.dumps(bot))) == {"unchanged": 1}


SMALL: dict[str, Spec] = {"ghosts": {"systemPrompt": "One."}, "shells": {"shellType": "Chat"}}


async def test_pages_of_what_was_deleted_together_leave_nothing_out(installation: Installation) -> None:
    names = [f"ghost-{n}" for n in range(7)]
    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        docs = [Doc(HOME, "ghosts", name, SMALL["ghosts"], {"tier": "x"}) for name in names]
        assert actions(await person.apply(person.text(docs))) == {"created": 7}
        other = Doc(HOME, "shells", "a", SMALL["shells"])
        gone = await person.apply(person.text([other]), prune="true", labelSelector="tier=x")
        assert actions(gone) == {"created": 1, "deleted": 7}
        deleted = (await person.get("ghosts", HOME, deleted="true"))["items"]
        uids = {item["metadata"]["uid"] for item in deleted}
        assert len(uids) == 7
        for limit in (1, 2, 3, 7, 8):
            seen = await paged_through(person, "ghosts", HOME, limit=limit)
            assert sorted(seen) == sorted(uids), f"{limit} on a page"


NUMBERS = (0, -0.0, 1, 1.0, 0.1, 1e-7, 5e-324, -(2**53) - 1, 1e15, 1e16, 9e18, 2**63 - 1)
TOO_LARGE = (1e22, 1e23, -1e23, 1.7e308)
"""As far as these are taken at all: the database writes them out as integers."""


async def test_a_number_is_the_same_when_it_comes_again(installation: Installation) -> None:
    def doc(name: str, number: float) -> Doc:
        spec = {"systemPrompt": "One.", "number": number, "within": [{"it": number}]}
        return Doc(HOME, "ghosts", name, spec)

    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        docs = [doc(f"g{n}", number) for n, number in enumerate(NUMBERS)]
        text = person.text(docs)
        assert actions(await person.apply(text)) == {"created": len(docs)}
        again = (await person.apply(text)).json()["items"]
        moved = [
            d.spec["number"] for d, item in zip(docs, again, strict=True) if item["action"] != "unchanged"
        ]
        assert moved == [], "taken for other numbers than they were"
        for key, item in (await listed(person)).items():
            assert item["spec"] == next(doc.spec for doc in docs if doc.key == key)
            answer = await person.request("PUT", f"ghosts/{key[2]}", item)
            assert (answer.status_code, answer.json()["metadata"]["generation"]) == (200, 1)
        for n, number in enumerate(TOO_LARGE):
            large = doc(f"large{n}", number)
            first = await person.apply(person.text([large]))
            if first.status_code != 422:
                assert actions(await person.apply(person.text([large]))) == {"unchanged": 1}, number
            put = await person.request("POST", "ghosts", person.document(doc(f"put{n}", number), None))
            assert put.status_code in (201, 422), put.text
            if put.status_code == 201:
                same = await person.request("PUT", f"ghosts/put{n}", put.json())
                assert (same.status_code, same.json()["metadata"]["generation"]) == (200, 1), number
