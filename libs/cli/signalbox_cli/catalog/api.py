"""The routes of the catalog, in the words of the contracts."""

from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.kinds import TASK
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_common.contracts.auth import ProjectPage
from signalbox_common.contracts.catalog import (
    ApplyResult,
    Generation,
    GenerationDetail,
    GenerationPage,
    KindEntry,
    KindList,
    PackageInfo,
    Resource,
    ResourcePage,
    ResourceTree,
)
from signalbox_common.errors import SignalboxError

M = TypeVar("M", ResourcePage, GenerationPage, ProjectPage)
PATIENCE = 60.0
"""Seconds for what the server itself gives half a minute."""
PAGE = 200


class Catalog:
    """What somebody may see and change, in the namespace that they have named."""

    def __init__(self, http: Client, namespace: str | None = None) -> None:
        self.http = http
        self.namespace = namespace

    def within(self, namespace: str) -> "Catalog":
        return Catalog(self.http, namespace)

    def params(self, **more: Any) -> dict[str, Any]:
        given = {"namespace": self.namespace, **more}
        return {name: value for name, value in given.items() if value is not None and value is not False}

    # -- what there is -----------------------------------------------------------------------------------

    def kinds(self) -> tuple[KindEntry, ...]:
        return KindList.model_validate_json(self.http.get("/api/v1/kinds").content).items

    def schema(self, kind: KindEntry) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{_of(kind)}/schema").json()
        return found

    def task_schema(self) -> dict[str, Any]:
        """Of documents of the kind Task: their `spec` is the body that creates one."""
        try:
            found = self.http.get("/openapi.json").json()
        except SignalboxError as error:
            raise Mistake("the server does not publish what its calls take") from error
        return {
            "description": TASK.description,
            "properties": {"spec": {"$ref": "#/components/schemas/NewTask"}},
            "required": ["spec"],
            "components": found["components"],
        }

    def namespaces(self) -> list[str]:
        """Of all projects of whoever asks."""
        pages = self._pages("/api/v1/projects", ProjectPage, {})
        return sorted(project.slug for page in pages for project in page.items)

    def resources(
        self,
        kind: KindEntry,
        *,
        selector: str | None = None,
        search: str | None = None,
        deleted: bool = False,
    ) -> Iterator[Resource]:
        params = self.params(labelSelector=selector, q=search, deleted=deleted)
        for page in self._pages(_of(kind), ResourcePage, params):
            yield from page.items

    def get(self, kind: KindEntry, name: str) -> Resource:
        return Resource.model_validate_json(self._get(_one(kind, name)).content)

    def resolved(self, kind: KindEntry, name: str) -> ResourceTree:
        return ResourceTree.model_validate_json(self._get(f"{_one(kind, name)}/resolved").content)

    def generations(self, kind: KindEntry, name: str) -> Iterator[Generation]:
        """Newest first."""
        for page in self._pages(f"{_one(kind, name)}/history", GenerationPage, self.params()):
            yield from page.items

    def generation(
        self, kind: KindEntry, name: str, number: int, against: int | None = None
    ) -> GenerationDetail:
        answer = self._get(f"{_one(kind, name)}/history/{number}", against=against)
        return GenerationDetail.model_validate_json(answer.content)

    # -- what changes it ---------------------------------------------------------------------------------

    def apply(
        self,
        text: str,
        *,
        archive: bytes | None = None,
        dry_run: bool = False,
        prune: bool = False,
        selector: str | None = None,
        into: str | None = None,
        strict: bool = False,
    ) -> ApplyResult:
        """The text, or the archive with the text and packages in it."""
        media = "application/yaml" if archive is None else "application/zip"
        answer = self.http.post(
            "/api/v1/apply" if archive is None else "/api/v1/apply/archive",
            content=text.encode() if archive is None else archive,
            headers={"Content-Type": media},
            params=self.params(dryRun=dry_run, prune=prune, labelSelector=selector, into=into, strict=strict),
            timeout=PATIENCE,
        )
        return ApplyResult.model_validate_json(answer.content)

    def create_namespace(self, slug: str) -> None:
        wait_for(self.http, self.http.post("/api/v1/projects", json={"name": slug, "slug": slug}))

    def replace(self, kind: KindEntry, name: str, document: dict[str, Any], version: str) -> Resource:
        """Refused where it is not of that version any more."""
        answer = self.http.put(
            _one(kind, name), json=document, headers={"If-Match": f'"{version}"'}, params=self.params()
        )
        return Resource.model_validate_json(answer.content)

    def delete(self, kind: KindEntry, name: str, *, cascade: bool = False) -> None:
        wait_for(self.http, self.http.delete(_one(kind, name), params=self.params(cascade=cascade)))

    def restore(self, kind: KindEntry, name: str) -> Resource:
        return self._changed(kind, name, "restore")

    def roll_back(self, kind: KindEntry, name: str, generation: int) -> Resource:
        return self._changed(kind, name, f"history/{generation}/rollback")

    def _changed(self, kind: KindEntry, name: str, how: str) -> Resource:
        answer = self.http.post(f"{_one(kind, name)}/{how}", params=self.params())
        if wait_for(self.http, answer):
            return self.get(kind, name)
        return Resource.model_validate_json(answer.content)

    # -- what skills carry -------------------------------------------------------------------------------

    def put_package(self, name: str, content: bytes) -> Resource:
        answer = self.http.put(
            _package(name),
            content=content,
            headers={"Content-Type": "application/zip"},
            params=self.params(),
            timeout=PATIENCE,
        )
        return Resource.model_validate_json(answer.content)

    def get_package(self, name: str) -> bytes:
        return self.http.get(_package(name), params=self.params(), timeout=PATIENCE).content

    def package_info(self, name: str) -> PackageInfo:
        return PackageInfo.model_validate_json(self._get(f"{_package(name)}/files").content)

    def _get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, params=self.params(**more))

    def _pages(self, path: str, kind: type[M], params: dict[str, Any]) -> Iterator[M]:
        cursor: str | None = None
        while True:
            asked = {**params, "limit": PAGE, **({"cursor": cursor} if cursor is not None else {})}
            page = kind.model_validate_json(self.http.get(path, params=asked).content)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return


def _of(kind: KindEntry) -> str:
    return f"/api/v1/kinds/{quote(kind.plural, safe='')}"


def _one(kind: KindEntry, name: str) -> str:
    return f"{_of(kind)}/{_segment(name)}"


def _package(name: str) -> str:
    return f"/api/v1/kinds/skills/{_segment(name)}/package"


def _segment(name: str) -> str:
    if name in ("", ".", ".."):  # in an address, these would be another one
        raise Mistake(f"{name!r} is no name of a resource")
    return quote(name, safe="")
