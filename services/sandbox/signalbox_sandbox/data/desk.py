"""What all routes of the data plane stand on: whose sandbox it is, and words for what comes of a request."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from signalbox_common.contracts.base import Reply
from signalbox_common.dataplane import DataRequest
from signalbox_common.db import Database
from signalbox_common.errors import BodyTooLarge, SignalboxError, invalid
from signalbox_sandbox import errors
from signalbox_sandbox.runtime.base import RuntimeAway, RuntimeRefused, SandboxGone
from signalbox_sandbox.service.sandboxes import check_reachable
from signalbox_sandbox.store import runs, sandboxes

M = TypeVar("M", bound=BaseModel)

_MAX_JSON = 256 * 1024
_KNOWN = 10_000
"""Sandboxes of which it is remembered whose they are: that never changes."""


class DataDesk:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._projects: dict[uuid.UUID, uuid.UUID] = {}

    async def sandbox(self, request: DataRequest) -> uuid.UUID:
        """Another project's is answered like one that is not there."""
        try:
            sandbox = uuid.UUID(request.path["sandbox"])
        except ValueError:
            raise errors.SandboxNotFound from None
        if sandbox not in self._projects:
            async with self._database.reading() as connection:
                found = await sandboxes.find(connection, sandbox)
            if found is None:
                raise errors.SandboxNotFound
            if len(self._projects) >= _KNOWN:
                self._projects.clear()
            self._projects[sandbox] = found.project_id
        if self._projects[sandbox] != request.principal.project():
            raise errors.SandboxNotFound
        if request.principal.act is not None:
            await self._check_run(sandbox)
        return sandbox

    async def _check_run(self, sandbox: uuid.UUID) -> None:
        """A run that has ended looks at nothing any more; people may, as long as its sandbox stays."""
        async with self._database.reading() as connection:
            if await runs.has_ended(connection, sandbox):
                raise errors.RunEnded

    async def base_of(self, sandbox: uuid.UUID) -> str | None:
        """The commit that its workspace began with."""
        async with self._database.reading() as connection:
            found = await sandboxes.find(connection, sandbox)
        if found is None or found.workspace is None:
            return None
        commit: str | None = found.workspace.get("commit")
        return commit

    @asynccontextmanager
    async def asking(
        self, sandbox: uuid.UUID, words: Mapping[str, type[SignalboxError]] = errors.OF_KEEPER
    ) -> AsyncIterator[None]:
        """With words of our own for what is refused within."""
        try:
            yield
        except RuntimeRefused as error:
            known = words.get(error.code) or errors.OF_KEEPER.get(error.code, errors.NodeAway)
            raise known(error.detail if known.status == 422 else None) from error
        except (SandboxGone, RuntimeAway) as error:
            async with self._database.reading() as connection:
                found = await sandboxes.find(connection, sandbox)
            if found is None:
                raise errors.SandboxNotFound from error
            check_reachable(found)
            raise errors.NodeAway from error


def fenced(request: DataRequest) -> dict[str, Any]:
    """What a keeper is told of whoever changes something for a run."""
    return {"fence": request.fence} if request.fence is not None else {}


async def json_of(request: DataRequest, model: type[M]) -> M:
    raw = bytearray()
    async for chunk in request.body():
        raw += chunk
        if len(raw) > _MAX_JSON:
            raise BodyTooLarge
    try:
        return model.model_validate_json(bytes(raw) or b"{}")
    except ValidationError as error:
        raise invalid(error) from error


def answered(reply: Reply) -> Response:
    return Response(reply.encode(), media_type="application/json")


async def closing(chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """The end of these is the end of what they come from."""
    async with stack:
        async for chunk in chunks:
            yield chunk


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]
