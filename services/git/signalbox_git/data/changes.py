"""Change sets and bundles, as bytes."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import git as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_git import errors
from signalbox_git.changes import LARGEST, ChangeFiles
from signalbox_git.commits import bundles
from signalbox_git.service.deliveries import Deliveries

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 256 * 1024


class ChangeRoutes:
    def __init__(self, deliveries: Deliveries, files: ChangeFiles) -> None:
        self._deliveries = deliveries
        self._files = files

    def register(self, server: DataServer) -> None:
        server.on(contract.PUT_CHANGES)(self._put_changes)
        server.on(contract.READ_CHANGES)(self._read_changes)
        server.on(contract.PUT_BUNDLE)(self._put_bundle)

    async def _put_changes(self, request: DataRequest) -> Response:
        return await self._put(request, bundled=False, largest=LARGEST)

    async def _read_changes(self, request: DataRequest) -> Response:
        """From an offset on, for whoever was cut; kept for longer, since somebody wants it."""
        project, sha256 = request.principal.project(), request.path["sha256"]
        if not _DIGEST.fullmatch(sha256) or await self._deliveries.stored(project, sha256) is None:
            raise errors.ChangesNotFound
        path = self._files.path(project, sha256)
        return StreamingResponse(_pieces(path, request.offset()), media_type="application/x-tar")

    async def _put_bundle(self, request: DataRequest) -> Response:
        return await self._put(request, bundled=True, largest=bundles.LARGEST)

    async def _put(self, request: DataRequest, *, bundled: bool, largest: int) -> Response:
        """There already, it is as well: what is asked for is its name."""
        project, sha256 = request.principal.project(), request.path["sha256"]
        if not _DIGEST.fullmatch(sha256):
            raise errors.DigestMismatch
        size = await self._deliveries.stored(project, sha256, bundled=bundled)
        if size is None:
            draft = await self._files.take(project, sha256, request.body(), largest)
            await self._deliveries.store(project, sha256, draft, bundled=bundled)
            size = draft.size
        reply = contract.ChangeSetStored(sha256=sha256, size=size)
        return Response(reply.encode(), media_type="application/json")


async def _pieces(path: Path, offset: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
