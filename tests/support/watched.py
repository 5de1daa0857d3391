"""A catalog that is watched, and what has happened in it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from signalbox_common.testing import running
from tests.support.catalog import KINDS, SPECS, Catalog
from tests.support.installation import Http, Installation
from tests.support.sse import Reader, Told, watching

What = tuple[str, str, int]
GHOST = SPECS["ghosts"]
TYPES = {"created": "ADDED", "restored": "ADDED", "updated": "MODIFIED", "deleted": "DELETED"}
GHOSTS = f"{KINDS}/ghosts"


@dataclass
class Scene:
    """A catalog behind a gateway with an address, and somebody with two projects."""

    installation: Installation
    catalog: Catalog
    address: str
    other: str
    """The name of the second project."""

    @property
    def http(self) -> Http:
        return self.catalog.http

    @property
    def me(self) -> dict[str, str]:
        return self.catalog.headers

    async def patch(self, name: str, spec: dict[str, Any], **query: Any) -> Any:
        answer = await self.http.patch(f"{GHOSTS}/{name}", json={"spec": spec}, params=query, headers=self.me)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def delete(self, path: str, **query: Any) -> None:
        answer = await self.http.delete(f"{KINDS}/{path}", params=query, headers=self.me)
        assert answer.status_code == 204, answer.text

    def watch(self, plural: str = "ghosts", **query: Any) -> AbstractAsyncContextManager[Reader]:
        return watching(self.address, plural, self.me, **query)


@asynccontextmanager
async def scene_of(installation: Installation, **changes: Any) -> AsyncIterator[Scene]:
    service = installation.catalog(**changes)
    async with (
        installation.running_auth(),
        running(service),
        installation.served_gateway(shutdown_grace=1.0) as (http, address),
    ):
        headers = await http.sign_up("developer")
        made = await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=headers)
        assert made.status_code == 201, made.text
        yield Scene(installation, Catalog(http, service, headers), address, "other")


async def happened(installation: Installation, namespace: str, kind: str = "Ghost") -> list[What]:
    """All changes of a kind, as a watcher is to be told of them, from the tables."""
    async with installation.sql() as sql:
        rows = await sql.fetch(
            "select r.version, r.change, r.resource ->> 'name' as name from catalog.revisions r"
            " join catalog.namespaces using (project_id) where slug = $1 and kind = $2"
            " order by r.version",
            namespace,
            kind,
        )
    return [(TYPES[row["change"]], row["name"], row["version"]) for row in rows]


def told(changes: list[Told]) -> list[What]:
    """What somebody was told; each change with its own version as its id."""
    assert all(change.id == change.version for change in changes if change.id is not None)
    return [change.what for change in changes]
