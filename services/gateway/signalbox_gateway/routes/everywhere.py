"""Lists of what is in several projects: newest first, as far as the asker may read."""

import asyncio
import uuid
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import Response

from signalbox_common.contracts import base
from signalbox_common.contracts.base import Reply
from signalbox_common.paging import id_cursor
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.access import own_projects
from signalbox_gateway.routes.here import Sender

AT_ONCE = 8
MOST_PROJECTS = 100
"""Whose things are listed together."""


class _Thing(Protocol):
    @property
    def id(self) -> uuid.UUID: ...


class _Page(Protocol):
    @property
    def items(self) -> "tuple[Any, ...]": ...

    @property
    def next_cursor(self) -> str | None: ...


async def listed(
    request: Request, clients: Clients, asker: Asker, wanted: base.Query[Any], project: uuid.UUID | None
) -> Response:
    """In one project, or else in all of the asker's: ids grow with time, so that each of those begins where
    the page before has ended."""
    if project is not None:
        return await Sender(request, clients, asker, project).send(wanted)
    asked: Any = wanted
    limit: int = asked.limit
    slots = asyncio.Semaphore(AT_ONCE)

    async def of(project: uuid.UUID) -> _Page:
        async with slots:
            page: Any = (await clients.query(asker, wanted, project=project)).value()
            found: _Page = page
            return found

    projects = sorted(await own_projects(clients, asker), reverse=True)[:MOST_PROJECTS]
    pages = await asyncio.gather(*map(of, projects))
    found = sorted((item for page in pages for item in page.items), key=_id_of, reverse=True)
    more = len(found) > limit or any(page.next_cursor for page in pages)
    items = tuple(found[:limit])
    after = id_cursor(_id_of(items[-1])) if more and items else None
    page: Reply = asked.reply(items=items, next_cursor=after)
    return Response(page.encode(), media_type="application/json")


def _id_of(item: _Thing) -> uuid.UUID:
    return item.id
