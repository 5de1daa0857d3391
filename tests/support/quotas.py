"""Quotas of a project, set by an administrator, and what a crowd gets under them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from signalbox_common.testing import eventually
from tests.support.installation import Http, Installation

_VERSION = "select version from {schema}.quotas where project_id = $1"


async def set_quotas(http: Http, installation: Installation, project: str, *known_by: str, **to: Any) -> Any:
    """What is answered, once those services know it that hold projects to it."""
    path = f"/api/v1/projects/{project}/quotas"
    answer = await http.put(path, json=to, headers=await http.administrator())
    assert answer.status_code == 200, answer.text
    found = answer.json()

    async def known() -> bool:
        async with installation.sql() as sql:
            found_by = [
                await sql.fetchval(_VERSION.format(schema=each), uuid.UUID(project)) for each in known_by
            ]
        return all(version == found["version"] for version in found_by)

    await eventually(known, what="the quotas are known")
    return found


async def crowd(count: int, ask: Callable[[], Awaitable[httpx.Response]]) -> list[Any]:
    """What so many at once are given, or may be yet; the others are told that a quota is used up."""
    given = [found for found in await asyncio.gather(*(_asked(ask) for _ in range(count))) if found]
    assert len({found["id"] for found in given}) == len(given)
    return given


async def _asked(ask: Callable[[], Awaitable[httpx.Response]]) -> Any:
    while True:
        answer = await ask()
        if answer.status_code == 503:
            continue  # nothing was done: so many are too many at once
        if answer.status_code == 429:
            assert answer.json()["code"] == "quota_exceeded", answer.text
            assert int(answer.headers["Retry-After"]) > 0
            return None
        assert answer.status_code in (201, 202), answer.text
        return answer.json()
