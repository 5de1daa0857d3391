"""Files that people give to tasks, as bytes."""

import uuid

from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import tasks as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.db import Database
from signalbox_common.errors import invalid
from signalbox_tasks import errors
from signalbox_tasks.service.attachments import Attachments, content_of


class AttachmentRoutes:
    def __init__(self, database: Database, attachments: Attachments) -> None:
        self._database = database
        self._attachments = attachments

    def register(self, server: DataServer) -> None:
        server.on(contract.PUT_ATTACHMENT)(self._put)
        server.on(contract.READ_ATTACHMENT)(self._read)

    async def _put(self, request: DataRequest) -> Response:
        try:
            about = contract.NewAttachment.model_validate(request.query)
        except ValidationError as error:
            raise invalid(error) from None
        project, upload = request.principal.project(), _id_of(request, "upload")
        reply = await self._attachments.take(project, upload, about, request.body())
        return Response(reply.encode(), media_type="application/json")

    async def _read(self, request: DataRequest) -> Response:
        """As bytes, whatever they are said to be: a browser shows nothing of them."""
        project, offset = request.principal.project(), request.offset()
        found = await self._attachments.found(project, _id_of(request, "attachment"))
        return StreamingResponse(
            content_of(self._database, found.id, offset),
            media_type="application/octet-stream",
            headers={"Content-Length": str(max(0, found.size - offset))},
        )


def _id_of(request: DataRequest, name: str) -> uuid.UUID:
    try:
        return uuid.UUID(request.path[name])
    except ValueError:
        raise errors.AttachmentNotFound from None
