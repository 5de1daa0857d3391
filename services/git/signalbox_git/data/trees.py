"""Trees of checkouts, as a tar."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from signalbox_common.contracts import git as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.db import Database
from signalbox_git import errors
from signalbox_git.store import checkouts
from signalbox_git.trees.packed import packed
from signalbox_git.trees.trees import Trees

_PIECE = 256 * 1024


class TreeRoutes:
    def __init__(self, database: Database, trees: Trees) -> None:
        self._database = database
        self._trees = trees

    def register(self, server: DataServer) -> None:
        server.on(contract.GET_TREE)(self._get)

    async def _get(self, request: DataRequest) -> Response:
        """From an offset on, for whoever was cut: the bytes are the same each time."""
        project = request.principal.project()
        try:
            checkout = uuid.UUID(request.path["checkout"])
        except ValueError:
            raise errors.CheckoutNotFound from None
        async with self._database.reading() as connection:
            found = await checkouts.get(connection, project, checkout)
        if found is None or found.state is not contract.CheckoutState.READY:
            raise errors.CheckoutNotFound
        offset = request.offset()
        with ExitStack() as stack:
            folder = stack.enter_context(self._trees.held(project, checkout))
            if folder is None:
                raise errors.CheckoutNotFound
            return _TreeResponse(_from(packed(folder), offset), stack.pop_all())


class _TreeResponse(StreamingResponse):
    """The tree is held until the last byte of it is sent, or nobody wants it any more."""

    def __init__(self, content: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(content, media_type="application/x-tar")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _from(pieces: Iterator[bytes], offset: int) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(_some, pieces):
        skipped = min(offset, len(piece))
        offset -= skipped
        if skipped < len(piece):
            yield piece[skipped:]


def _some(pieces: Iterator[bytes]) -> bytes:
    """As many as are worth sending, since most files are small; empty at the end."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) >= _PIECE:
            break
    return bytes(found)
