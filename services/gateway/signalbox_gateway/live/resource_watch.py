"""`GET /api/v1/kinds/{plural}?watch=true`: changes of resources, as server-sent events."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Header, Query, Request
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from starlette.responses import Response, StreamingResponse

from signalbox_common.bus import Bus
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.catalog import ChangeType
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway.clients import Clients
from signalbox_gateway.errors import BadResourceVersion
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.connections import OpenConnections
from signalbox_gateway.live.node import Node

LONGEST = 300.0
"""Seconds after which a stream ends, so that its client reconnects and goes on."""
BOOKMARK_EVERY = 15.0
POLL_EVERY = 5.0
"""Seconds after which changes are polled for although there was no signal of any."""
RETRY = 1000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class WatchOptions:
    """Whether somebody wants to watch, from where on, and for how long."""

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


@dataclass
class _ProjectWatchers:
    waiting: set[asyncio.Event] = field(default_factory=set)
    subscription: Subscription | None = None


class ChangeSignals:
    """Signals that something has happened to resources, with one subscription per watched project.

    Only a hint: events may be lost on the way here, so whoever waits polls after a while anyway.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._projects: dict[uuid.UUID, _ProjectWatchers] = {}
        self._lock = asyncio.Lock()
        bus.revoked.listeners.add(self._on_revoked)

    @asynccontextmanager
    async def of(self, project_id: uuid.UUID) -> AsyncIterator[asyncio.Event]:
        """Set whenever a resource of the project may have changed, or what somebody may see."""
        signal = asyncio.Event()
        await self._join(project_id, signal)
        try:
            yield signal
        finally:
            await asyncio.shield(self._leave(project_id, signal))

    async def _join(self, project_id: uuid.UUID, signal: asyncio.Event) -> None:
        async with self._lock:
            project = self._projects.setdefault(project_id, _ProjectWatchers())
            project.waiting.add(signal)
            if project.subscription is not None:
                return

            async def on_event(_message: Msg) -> None:
                for each in project.waiting:
                    each.set()

            try:
                project.subscription = await self._bus.connection.client.subscribe(
                    f"{EVENTS.copies}.{project_id}.catalog.resource.*", cb=on_event
                )
            except BaseException:
                self._forget(project_id, signal)
                raise

    async def _leave(self, project_id: uuid.UUID, signal: asyncio.Event) -> None:
        async with self._lock:
            subscription = self._forget(project_id, signal)
            if subscription is not None and self._bus.connection.is_up:
                await subscription.unsubscribe()

    def _forget(self, project_id: uuid.UUID, signal: asyncio.Event) -> Subscription | None:
        """The subscription, where nobody needs it any more."""
        project = self._projects[project_id]
        project.waiting.discard(signal)
        if project.waiting:
            return None
        return self._projects.pop(project_id).subscription

    def _on_revoked(self, _what: AccessRevoked) -> None:
        """Everybody polls at once, with a grant of now."""
        for project in self._projects.values():
            for signal in project.waiting:
                signal.set()


async def watch_resources(
    request: Request,
    clients: Clients,
    asker: Asker,
    namespace: str,
    query: contract.ListResources,
    options: WatchOptions,
) -> Response:
    """Each change once and in order, to whoever resumes from the last `id`."""
    project = await clients.place(asker, "catalog", namespace, type(query))
    watch = _ResourceWatch(clients, asker, project, query)
    # A refusal is answered as one, not as a broken stream.
    if options.version is None:
        page: contract.ResourcePage | None = await watch.page(query)
        first: list[bytes] = []
    else:
        page = None
        if not options.version.isdecimal():
            raise BadResourceVersion
        watch.version = options.version
        first = await watch.poll()
    ends_at = min(time.time() + options.timeout, asker.expires_at)
    node: Node = request.app.state.node
    signals: ChangeSignals = request.app.state.change_signals
    body = _body(watch, signals, node.connections, page, first, ends_at)
    return StreamingResponse(body, media_type="text/event-stream", headers=_HEADERS)


class _ResourceWatch:
    """The watch of one client, and how far it has come."""

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

    async def poll(self) -> list[bytes]:
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
    watch: _ResourceWatch,
    signals: ChangeSignals,
    connections: OpenConnections,
    page: contract.ResourcePage | None,
    first: list[bytes],
    ends_at: float,
) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY}\n\n".encode()
    with connections.track(watch.asker) as connection:
        async with signals.of(watch.project) as signal:
            if page is not None:
                try:
                    async for chunk in watch.all(page):
                        yield chunk
                except SignalboxError:
                    return  # the client comes again, and is told then
            for chunk in first:
                yield chunk
            sent_at = time.time()
            while not connection.ended.done() and (left := ends_at - time.time()) > 0:
                if watch.complete:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(_either(signal, connection.ended), min(POLL_EVERY, left))
                signal.clear()
                try:
                    chunks = await watch.poll()
                except Unavailable:
                    chunks = []  # the stream lives on while the catalog is away
                except SignalboxError:
                    return  # not a member any more, or too far behind: the client is told when it comes again
                for chunk in chunks:
                    yield chunk
                if chunks:
                    sent_at = time.time()
                elif time.time() - sent_at >= BOOKMARK_EVERY:
                    yield watch.bookmark()
                    sent_at = time.time()


async def _either(signal: asyncio.Event, ended: "asyncio.Future[Any]") -> None:
    signalled = asyncio.ensure_future(signal.wait())
    try:
        await asyncio.wait({signalled, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()


def _json(resource: contract.Resource) -> dict[str, Any]:
    return resource.model_dump(mode="json", by_alias=True)


def _event(kind: ChangeType, about: dict[str, Any], version: str | None = None) -> bytes:
    lines = [f"event: {kind}"]
    if version is not None:
        lines.append(f"id: {version}")
    lines.append(f"data: {json.dumps({'type': kind, 'object': about}, ensure_ascii=False)}")
    return ("\n".join(lines) + "\n\n").encode()
