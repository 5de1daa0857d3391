"""Somebody with a project, and events that are told in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.installation import Http, Installation
from tests.support.live import Teller, fanout, telling


@dataclass
class Scene:
    http: Http
    address: str
    me: dict[str, str]
    project: str
    teller: Teller
    installation: Installation

    async def pages(self, after: str | None = None, limit: int = 100, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            wanted = query | {"limit": limit} | ({"after": after} if after else {})
            answer = await self.http.get(
                f"/api/v1/projects/{self.project}/events", params=wanted, headers=self.me
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            if not page["items"] and after == page["nextCursor"]:
                return found
            after = page["nextCursor"]


@asynccontextmanager
async def live(installation: Installation) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(),
        fanout(installation),
        installation.served_gateway() as (http, address),
        telling(installation) as teller,
    ):
        me = await http.sign_up()
        yield Scene(http, address, me, await http.project(me), teller, installation)
