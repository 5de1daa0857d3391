"""Files that are given to tasks."""

import re
import uuid
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import GrantScope
from signalbox_gateway.clients import RequestContext
from signalbox_gateway.errors import ProjectNotFound
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_tasks import AtAttachment, place_at
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender
from signalbox_gateway.routes.router import IdempotencyKey, Routes

routes = Routes("/api/v1", "tasks")

_ANY_TYPE = "application/octet-stream"
_TYPE = re.compile(r"[!-~]{1,127}/[!-~]{1,127}")
_BINARY = {_ANY_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_UPLOADED: dict[str, Any] = {
    "status": 201,
    "reply": contract.Attachment,
    "grant": GrantScope.PROJECT,
    "takes": "anything",
    "max_body": contract.MAX_ATTACHMENT,
    "body": {"required": True, "content": _BINARY},
    "also": [
        (403, "role_too_low"),
        (403, "insufficient_scope"),
        (413, "attachment_too_large"),
        (422, "bad_idempotency_key"),
        (422, "idempotency_key_reused"),
        (429, "attachments_full"),
        (429, "quota_exceeded"),
        (507, "disk_full"),
    ],
}
_BYTES: Responses = {200: {"description": "The bytes.", "content": _BINARY}}
NameHere = Annotated[contract.AttachmentName, Query(description="What it is called in the sandbox.")]


@routes.on("POST", "/attachments", **_UPLOADED)
async def upload_attachment(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    name: NameHere,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default the asker's personal one.")
    ] = None,
    _key: IdempotencyKey = None,
) -> Response:
    """At most 25 MiB. One that no task takes within a day goes."""
    return await _taken(Sender(request, clients, asker, project_id or HOME), name)


@routes.on("POST", "/projects/{project_id}/attachments", **_UPLOADED)
async def upload_attachment_to_project(
    here: InProject, name: NameHere, _key: IdempotencyKey = None
) -> Response:
    return await _taken(here, name)


async def _taken(here: Sender, name: str) -> Response:
    """Under a key it is one upload, and another one with other words is refused."""
    if here.request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415)
    route, clients = contract.PUT_ATTACHMENT, here.clients
    upload = clients.command_id(here.someone, RequestContext.of(here.request))
    grant = await clients.identity.grant(here.someone, route.service, here.place, purpose=route.does)
    if grant.project is None:
        raise ProjectNotFound
    media = here.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    names = {"upload": str(upload), "name": name, "mediaType": media if _TYPE.fullmatch(media) else _ANY_TYPE}
    place = await place_at(replace(here, place=grant.project), route, **names)
    return await clients.bytes.upload(here.request, here.someone, place, status=201)


@routes.on("GET", "/attachments/{attachment_id}", contract.GetAttachment)
async def get_attachment(here: AtAttachment, attachment_id: uuid.UUID) -> Response:
    return await here.send(contract.GetAttachment(attachment=attachment_id))


@routes.on(
    "GET",
    "/attachments/{attachment_id}/content",
    contract.GetAttachment,
    response_class=Response,
    shows=_BYTES,
)
async def read_attachment(
    here: AtAttachment,
    attachment_id: uuid.UUID,
    offset: Annotated[int, Query(alias="from", ge=0)] = 0,
) -> Response:
    """To be saved, and not to be shown."""
    found = await here.value(contract.GetAttachment(attachment=attachment_id))
    place = await place_at(here, contract.READ_ATTACHMENT, attachment=str(attachment_id))
    return await here.clients.bytes.download(here.someone, place, offset, name=found.name)


@routes.on("DELETE", "/attachments/{attachment_id}", contract.DeleteAttachment)
async def delete_attachment(here: AtAttachment, attachment_id: uuid.UUID) -> Response:
    """Of one that no task has; those of tasks go with them."""
    return await here.send(contract.DeleteAttachment(attachment=attachment_id))
