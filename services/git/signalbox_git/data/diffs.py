"""Differences that deliveries make, as bytes."""

import re
import uuid

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import invalid
from signalbox_git import errors
from signalbox_git.service.diffs import Diffs

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMIT: TypeAdapter[str] = TypeAdapter(contract.CommitId)
MEDIA_TYPE = "text/x-diff"


class DiffRoutes:
    def __init__(self, diffs: Diffs) -> None:
        self._diffs = diffs

    def register(self, server: DataServer) -> None:
        server.on(contract.READ_CHANGES_DIFF)(self._of_changes)
        server.on(contract.READ_DELIVERY_DIFF)(self._of_delivery)

    async def _of_changes(self, request: DataRequest) -> Response:
        project, sha256 = request.principal.project(), request.path["sha256"]
        if not _DIGEST.fullmatch(sha256):
            raise errors.ChangesNotFound
        try:
            repository = uuid.UUID(request.query.get("repository", ""))
        except ValueError:
            raise errors.RepositoryNotFound from None
        try:
            base = _COMMIT.validate_python(request.query.get("base", ""))
        except ValidationError as error:
            raise invalid(error) from error
        return _from(request, await self._diffs.of_changes(project, sha256, repository, base))

    async def _of_delivery(self, request: DataRequest) -> Response:
        try:
            delivery = uuid.UUID(request.path["delivery"])
        except ValueError:
            raise errors.DeliveryNotFound from None
        return _from(request, await self._diffs.of_delivery(request.principal.project(), delivery))


def _from(request: DataRequest, content: bytes) -> Response:
    """Goes on where it was cut."""
    return Response(content[request.offset() :], media_type=MEDIA_TYPE)
