"""A person with two namespaces, and all that they see there."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import yaml

from tests.support.catalog import KINDS, Catalog
from tests.support.catalog_model import HOME, KIND_OF, OTHER, Doc, Key, Spec, T
from tests.support.installation import Installation


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


async def said(person: Person) -> dict[Key, Any]:
    """What documents say, of everything that there is."""
    names = ("displayName", "labels", "annotations")
    return {
        key: {"metadata": {name: item["metadata"][name] for name in names}, "spec": item["spec"]}
        for key, item in (await listed(person)).items()
    }


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
