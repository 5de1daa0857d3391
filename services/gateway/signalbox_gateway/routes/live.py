"""Events as they happen, as a stream or in pages, and from outside."""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from signalbox_common.contracts.base import FieldError, GrantScope
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.errors import OperationNotFound, SignalboxError
from signalbox_common.keys import uuid7
from signalbox_gateway.clients import RequestContext
from signalbox_gateway.errors import BadEventTypes, PositionExpired, UntellableEvent
from signalbox_gateway.event_quotas import EventQuotas
from signalbox_gateway.external import STRUCTURED, BadEvent, Reader
from signalbox_gateway.identity import Asker, CurrentAsker, Identity, current_asker
from signalbox_gateway.live.access import WRITE, own_projects, require_access
from signalbox_gateway.live.node import Node
from signalbox_gateway.live.protocol import ListedEvent
from signalbox_gateway.live.publication import StreamPosition, event_of
from signalbox_gateway.live.sse import EventStream, SubscribeOptions
from signalbox_gateway.live.tickets import Tickets
from signalbox_gateway.publishing import publish
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.bodies import JSON
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import IdempotencyKey, Routes

routes = Routes("/api/v1", "live")

MAX_TYPES = 20
PAGE_BYTES = 512 * 1024
_TYPE = re.compile(r"[a-z0-9*_-]+(?:\.[a-zA-Z0-9*_-]+)*")
_bearer = HTTPBearer(auto_error=False)
_REFUSED = (
    (403, "role_too_low"),
    (403, "insufficient_scope"),
    (401, "bad_ticket"),
    (422, "bad_offset"),
    (422, "bad_types"),
)
_STREAM: Responses = {
    200: {
        "description": "Server-sent events, each with its type, its position as `id`, and its JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


async def stream_asker(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ticket: Annotated[str | None, Query(max_length=200, description="From `POST /auth/ws-ticket`.")] = None,
) -> Asker:
    """What is taken back while a stream begins ends it: no need to ask auth, while that would be heard of."""
    identity: Identity = request.app.state.clients.identity
    if ticket is not None:
        tickets: Tickets = request.app.state.tickets
        return await identity.asker(await tickets.redeem(ticket))
    return await current_asker(request, credentials)


async def _node(request: Request) -> Node:
    node: Node = request.app.state.node
    return node


StreamAsker = Annotated[Asker, Depends(stream_asker)]
NodeHere = Annotated[Node, Depends(_node)]


@dataclass(frozen=True)
class StreamStart:
    """From where on, and which types."""

    resume: StreamPosition | None
    types: tuple[str, ...]


async def _stream_start(
    types: Annotated[
        str | None,
        Query(max_length=1000, description="Separated by commas; `tasks.*` for all that begin so."),
    ] = None,
    last_event_id: Annotated[
        str | None, Query(alias="lastEventId", description="The `id` of the last event that came.")
    ] = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
) -> StreamStart:
    """A coroutine, since anything else is called in a thread."""
    # A client that connects again knows better than its address where it was.
    resume = last_event_id_header or last_event_id
    return StreamStart(StreamPosition.parse(resume) if resume else None, types_of(types))


StreamStartHere = Annotated[StreamStart, Depends(_stream_start)]


@routes.on(
    "GET",
    "/sse",
    grant=GrantScope.PROJECT,
    asker=stream_asker,
    shows=_STREAM,
    also=_REFUSED,
    response_class=Response,
)
async def stream_events(
    asker: StreamAsker,
    clients: ClientsHere,
    node: NodeHere,
    start: StreamStartHere,
    project: Annotated[uuid.UUID | None, Query(description="By default all that the asker may read.")] = None,
    operation: Annotated[str | None, Query(max_length=300)] = None,
) -> Response:
    """What happens, as it happens, nothing missed and nothing twice: a client that connects again goes on.

    A stream ends after five minutes, or with the token. `resync` means that what came before it must be
    asked for in pages.
    """
    revocations = node.access.revocations
    projects = {project} if project is not None else await own_projects(clients, asker)
    await node.access.require(asker, projects if project is not None else ())
    return EventStream(
        node, asker, SubscribeOptions(frozenset(projects), operation, start.types, start.resume, revocations)
    )


@routes.on(
    "GET",
    "/operations/{operation_id}/events",
    grant=GrantScope.PROJECT,
    asker=stream_asker,
    shows=_STREAM,
    also=[*_REFUSED, (404, "operation_not_found")],
    response_class=Response,
)
async def stream_operation(
    operation_id: str, asker: StreamAsker, clients: ClientsHere, node: NodeHere, start: StreamStartHere
) -> Response:
    """How an operation goes on."""
    revocations = node.access.revocations
    ref = clients.operation_ids.read(operation_id)
    missing = OperationNotFound()
    if ref is None or (ref.project_id is None and ref.user_id != asker.user_id):
        raise missing
    projects = {ref.project_id} if ref.project_id is not None else await own_projects(clients, asker)
    try:
        await node.access.require(asker, projects if ref.project_id is not None else ())
    except SignalboxError as error:
        raise (missing if error.status == 404 else error) from error
    options = SubscribeOptions(frozenset(projects), operation_id, start.types, start.resume, revocations)
    return EventStream(node, asker, options)


class PagedEvent(ListedEvent):
    """An event of a page."""

    position: str
    """Where it is in the stream."""


class EventPage(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    items: list[PagedEvent]
    next_cursor: str
    """To ask again with, whether there is more yet or not."""


class AcceptedEvent(BaseModel):
    id: str


_NEW_EVENT = {
    "required": True,
    "content": {
        media: {
            "schema": {
                "type": "object",
                "required": ["type"],
                "properties": {
                    "specversion": {"const": "1.0"},
                    "type": {"type": "string", "examples": ["ext.ci.finished"]},
                    "id": {"type": "string", "description": "By default a new one."},
                    "source": {"type": "string"},
                    "subject": {"type": "string"},
                    "time": {"type": "string", "format": "date-time"},
                    "operation": {"type": "string", "description": "One of this project."},
                    "data": {},
                },
            }
        }
        for media in (JSON, STRUCTURED)
    },
}


@routes.on(
    "POST",
    "/projects/{project_id}/events",
    status=202,
    reply=AcceptedEvent,
    grant=GrantScope.PROJECT,
    takes=(JSON, STRUCTURED),
    body=_NEW_EVENT,
    also=[*_REFUSED[:2], (422, "bad_event"), (422, "bad_idempotency_key"), (429, "quota_exceeded")],
)
async def publish_event(
    request: Request,
    project_id: uuid.UUID,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """Takes in a CloudEvent that happened elsewhere; its type is `ext.` and one to four words.

    Its source is told as `/projects/<id>/users/<id>` of whoever publishes it, with the source that it names
    behind `#`, and as named in `claimedsource`. An event with the source and the id of an earlier one is told
    once.
    """
    await require_access(clients, asker, project_id, WRITE, ProjectRole.DEVELOPER)
    reader: Reader = request.app.state.external
    key = RequestContext.of(request).idempotency_key
    event_id = str(uuid7()) if key is None else str(uuid.uuid5(project_id, f"{asker.user_id} {key}"))
    try:
        event = reader.of_json(project_id, await request.json(), user=asker.user_id, event_id=event_id)
    except BadEvent as error:
        raise UntellableEvent(
            [FieldError(field=error.attribute, message=error.detail, code=error.code)]
        ) from error
    quotas: EventQuotas = request.app.state.event_quotas
    await quotas.take(project_id, event.size, user=asker.user_id)
    await publish(clients.bus.connection, event)
    return JSONResponse({"id": event.id}, 202)


@routes.on(
    "GET",
    "/projects/{project_id}/events",
    reply=EventPage,
    grant=GrantScope.PROJECT,
    asker=stream_asker,
    also=[*_REFUSED, (410, "expired")],
)
async def list_events(
    project_id: uuid.UUID,
    asker: StreamAsker,
    clients: ClientsHere,
    node: NodeHere,
    after: Annotated[str | None, Query(max_length=40, description="A position, or `nextCursor`.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    types: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The same in pages, from the stream itself, as far back as that goes (7 days)."""
    await require_access(clients, asker, project_id)
    state = await node.stream.state()
    begin = StreamPosition.parse(after) if after else StreamPosition(state.epoch, max(state.first - 1, 0))
    if begin.epoch != state.epoch or not state.first - 1 <= begin.offset <= state.last:
        raise PositionExpired
    wanted = types_of(types)
    found = await node.stream.after(f"evt.{project_id}.>", begin.offset, limit)
    items: list[str] = []
    size = 0
    at = begin.offset if found else max(state.last, begin.offset)
    for stored in found:
        event = event_of(stored.subject, stored.headers, stored.body, stored.sequence)
        if event is not None and event.is_of(wanted):
            size += len(event.text)
            if items and size > PAGE_BYTES:
                break
            position = json.dumps(str(StreamPosition(state.epoch, stored.sequence)))
            items.append(f'{event.text[:-1]},"position":{position}}}')
        at = stored.sequence
    cursor = json.dumps(str(StreamPosition(state.epoch, at)))
    body = f'{{"items":[{",".join(items)}],"nextCursor":{cursor}}}'
    return Response(body, media_type="application/json")


def types_of(text: str | None) -> tuple[str, ...]:
    types = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if len(types) > MAX_TYPES or any(_TYPE.fullmatch(each) is None for each in types):
        raise BadEventTypes(MAX_TYPES)
    return types
