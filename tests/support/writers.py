"""Many who write at once, and what must hold of what they leave."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.vault import Vault
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.support.catalog import SPECS, Catalog
from tests.support.installation import Http, Installation
from tests.support.sse import outbox_is_empty, published

GHOST = SPECS["ghosts"]
MANY = 20


@dataclass(frozen=True)
class Space:
    """A namespace, and the project that it is."""

    slug: str
    project: str


async def spaces_of(http: Http, headers: dict[str, str]) -> tuple[Space, Space]:
    """The own one and one more; the one that locks come first in is the first."""
    made = await http.post("/api/v1/projects", json={"name": "x", "slug": "other"}, headers=headers)
    assert made.status_code == 201, made.text
    items = (await http.get("/api/v1/projects", headers=headers)).json()["items"]
    first, second = sorted((Space(item["slug"], item["id"]) for item in items), key=lambda s: s.project)
    return first, second


async def revisions(installation: Installation) -> list[Any]:
    """Every change of every project, in order."""
    async with installation.sql() as sql:
        rows = await sql.fetch("select * from catalog.revisions order by project_id, version")
    return [dict(row) | {"resource": json.loads(row["resource"])} for row in rows]


async def dangling(installation: Installation) -> int:
    """References of what is deleted, or to it within its project, and bots that refer to nothing."""
    async with installation.sql() as sql:
        ends = await sql.fetchval(
            "select count(*) from catalog.refs join catalog.resources as holder on holder.uid = from_uid"
            " join catalog.resources as target on target.uid = to_uid"
            " where holder.deleted_at is not null"
            " or (target.deleted_at is not null and target.project_id = holder.project_id)"
        )
        bots = await sql.fetchval(
            "select count(*) from catalog.resources where kind = 'Bot' and deleted_at is null"
            " and (select count(*) from catalog.refs where from_uid = uid) <> 2"
        )
    return int(ends) + int(bots)


async def deadlocks(installation: Installation) -> int:
    async with installation.sql() as sql:
        return int(
            await sql.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
        )


async def all_of(requests: Sequence[Coroutine[Any, Any, httpx.Response]]) -> list[httpx.Response]:
    """Their answers; none may say that something went wrong on our side."""
    answers = await asyncio.gather(*requests)
    broken = [answer.text for answer in answers if answer.status_code >= 500]
    assert broken == []
    return answers


def codes(answers: Sequence[httpx.Response]) -> Counter[tuple[int, str | None]]:
    return Counter((a.status_code, a.json().get("code") if a.content else None) for a in answers)


async def key_of(installation: Installation, catalog: Catalog, uid: str) -> Any:
    """The API key of a model, from the secret store."""
    its: Any = catalog.service.settings
    secret_key = its.secret_key.get_secret_value()
    store = LocalSecrets(catalog.service.database, KeyFile(its.secrets_dir / "catalog.keys", secret_key))
    async with installation.sql() as sql:
        stored = json.loads(
            await sql.fetchval("select secrets from catalog.resources where uid = $1", UUID(uid))
        )
    secrets = {at: StoredSecret(entry["bundle"], entry["mark"]) for at, entry in stored.items()}
    return (await Vault(store, secret_key).reveal(secrets))["/modelConfig/env/api_key"]


async def all_is_in_order(installation: Installation) -> None:
    """Each project's changes are numbered without a gap, and told once, in that order."""
    await outbox_is_empty(installation)
    async with installation.sql() as sql:
        heads = {
            str(row["project_id"]): row["version"]
            for row in await sql.fetch("select * from catalog.namespaces")
        }
    rows = await revisions(installation)
    for project, head in heads.items():
        ours = [row for row in rows if str(row["project_id"]) == project]
        assert [row["version"] for row in ours] == list(range(1, head + 1))
        told = await published(installation, project)
        assert [(each.version, each.change) for each in told] == [(r["version"], r["change"]) for r in ours]
        assert len({each.id for each in told}) == head
