"""`GET /api/v1/kinds/{plural}?watch=true`: changes of resources, as server-sent events."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Header, Query, Request
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.catalog import ChangeType
from signalbox_common.errors import Invalid, SignalboxError, Unavailable
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.access import Watch
from signalbox_gateway.live.node import Live
from signalbox_gateway.live.wakes import Wakes

LONGEST = 300.0
"""Seconds after which a stream ends, so that its client connects anew and goes on."""
ALIVE_EVERY = 15.0
LOOK_EVERY = 5.0
"""Seconds after which it is looked for changes although nothing was heard of any."""
RETRY = 1000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class WatchStart:
    """From where on somebody wants to watch."""

    def __init__(
        self,
        watch: Annotated[bool, Query(description="A stream of changes instead of a page.")] = False,
        resource_version: Annotated[
            contract.Version | None,
            Query(
                alias="resourceVersion",
                description="What has changed since then; without it, first all that there is, as `ADDED`.",
            ),
        ] = None,
        timeout_seconds: Annotated[int | None, Query(alias="timeoutSeconds", ge=1, le=3600)] = None,
        last_event_id: Annotated[contract.Version | None, Header(alias="Last-Event-ID")] = None,
    ) -> None:
        self.watch = watch
        self.timeout = min(float(timeout_seconds or LONGEST), LONGEST)
        self.version = last_event_id or resource_version or None
        """A client that connects again knows better than the address where it was."""


async def watched(
    request: Request,
    clients: Clients,
    asker: Asker,
    namespace: str,
    query: contract.ListResources,
    start: WatchStart,
) -> Response:
    """Each change once and in order, to whoever goes on from the last `id`."""
    project = await clients.place(asker, "catalog", namespace, type(query))
    stream = _Stream(clients, asker, project, query)
    # A refusal is answered as one, not as a broken stream.
    if start.version is None:
        page: contract.ResourcePage | None = await stream.page(query)
        first: list[bytes] = []
    else:
        page = None
        if not start.version.isdecimal():
            raise Invalid("A resourceVersion is one that was answered before.", code="bad_version")
        stream.version = start.version
        first = await stream.look()
    ends_at = min(time.time() + start.timeout, asker.expires_at)
    live: Live = request.app.state.live
    wakes: Wakes = request.app.state.wakes
    body = _body(stream, wakes, live.watch, page, first, ends_at)
    return StreamingResponse(body, media_type="text/event-stream", headers=_HEADERS)


class _Stream:
    """How far one client has come."""

    def __init__(
        self, clients: Clients, asker: Asker, project: uuid.UUID, query: contract.ListResources
    ) -> None:
        self.asker = asker
        self.project = project
        self.version = "0"
        self.complete = True
        self._clients = clients
        self._query = query

    async def page(self, query: contract.ListResources) -> contract.ResourcePage:
        return (await self._clients.query(self.asker, query, project=self.project)).value()

    async def all(self, page: contract.ResourcePage) -> AsyncIterator[bytes]:
        """What there is, from its first page on; what changes in the meantime comes after it."""
        version = page.resource_version
        while True:
            for resource in page.items:
                # Without an id: whoever is cut off here begins again.
                yield _event(ChangeType.ADDED, _json(resource))
            if page.next_cursor is None:
                break
            page = await self.page(self._query.model_copy(update={"cursor": page.next_cursor}))
        self.version = version
        yield self.bookmark()

    async def look(self) -> list[bytes]:
        """The next changes. Asked for with a grant of the moment, so nobody sees more than they may."""
        question = contract.ListChanges(
            plural=self._query.plural, after=self.version, label_selector=self._query.label_selector
        )
        page = (await self._clients.query(self.asker, question, project=self.project)).value()
        before, self.version, self.complete = self.version, page.resource_version, page.complete
        found = [
            _event(item.type, _json(item.object), item.object.metadata.resource_version)
            for item in page.items
        ]
        # A filter may pass over many changes: whoever comes again need not see them once more.
        return found if found or before == self.version else [self.bookmark()]

    def bookmark(self) -> bytes:
        said = {"metadata": {"resourceVersion": self.version}}
        return _event(ChangeType.BOOKMARK, said, self.version)


async def _body(
    stream: _Stream,
    wakes: Wakes,
    watch: Watch,
    page: contract.ResourcePage | None,
    first: list[bytes],
    ends_at: float,
) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY}\n\n".encode()
    with watch.over(stream.asker) as connection:
        async with wakes.of(stream.project) as wake:
            if page is not None:
                try:
                    async for chunk in stream.all(page):
                        yield chunk
                except SignalboxError:
                    return  # the client comes again, and is told then
            for chunk in first:
                yield chunk
            spoken = time.time()
            while not connection.ended.done() and (left := ends_at - time.time()) > 0:
                if stream.complete:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(_either(wake, connection.ended), min(LOOK_EVERY, left))
                wake.clear()
                try:
                    chunks = await stream.look()
                except Unavailable:
                    chunks = []  # the stream lives on while the catalog is away
                except SignalboxError:
                    return  # not a member any more, or too far behind: the client is told when it comes again
                for chunk in chunks:
                    yield chunk
                if chunks:
                    spoken = time.time()
                elif time.time() - spoken >= ALIVE_EVERY:
                    yield stream.bookmark()
                    spoken = time.time()


async def _either(wake: asyncio.Event, ended: "asyncio.Future[Any]") -> None:
    woken = asyncio.ensure_future(wake.wait())
    try:
        await asyncio.wait({woken, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        woken.cancel()


def _json(resource: contract.Resource) -> dict[str, Any]:
    return resource.model_dump(mode="json", by_alias=True)


def _event(kind: ChangeType, about: dict[str, Any], version: str | None = None) -> bytes:
    lines = [f"event: {kind}"]
    if version is not None:
        lines.append(f"id: {version}")
    lines.append(f"data: {json.dumps({'type': kind, 'object': about}, ensure_ascii=False)}")
    return ("\n".join(lines) + "\n\n").encode()
