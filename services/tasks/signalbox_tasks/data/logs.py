"""Logs and artifacts of runs, as bytes."""

import json
import uuid
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import tasks as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.dataplane.frames import HEADER, FrameKind
from signalbox_common.db import Database
from signalbox_tasks import errors
from signalbox_tasks.service.followers import LogFollowers
from signalbox_tasks.service.runs import Runs
from signalbox_tasks.store import logs, runs


class LogRoutes:
    def __init__(self, database: Database, found: Runs, followers: LogFollowers) -> None:
        self._database = database
        self._runs = found
        self._followers = followers

    def register(self, server: DataServer) -> None:
        server.on(contract.READ_RUN_LOG)(self._log)
        server.on(contract.READ_ARTIFACT)(self._artifact)

    async def _log(self, request: DataRequest) -> Response:
        run = await self._runs.found(request.principal.project(), _run_of(request))
        follow = request.query.get("follow", "true") != "false"
        frames = self._frames(run.project_id, run.id, request.offset(), follow=follow)
        return StreamingResponse(frames, media_type="application/octet-stream")

    async def _frames(
        self, project: uuid.UUID, run: uuid.UUID, offset: int, *, follow: bool
    ) -> AsyncIterator[bytes]:
        """To the end of the run, where it is followed; as far as it has come, where it is not."""
        while True:
            async with self._database.reading() as connection:
                found = await runs.get(connection, project, run)
                pieces = await logs.read(connection, run, offset)
            for piece in pieces:
                if piece.begin > offset:
                    yield _frame(FrameKind.GAP, offset, (piece.begin - offset).to_bytes(8, "big"))
                    offset = piece.begin
                content = piece.content[offset - piece.begin :]
                yield _frame(FrameKind(piece.stream), offset, content)
                offset = piece.end
            if pieces:
                continue
            if found is None or found.ended:
                end = {"state": found.state if found is not None else None}
                yield _frame(FrameKind.END, offset, json.dumps(end).encode())
                return
            if not follow:
                return
            await self._followers.until_more(run)

    async def _artifact(self, request: DataRequest) -> Response:
        run = await self._runs.found(request.principal.project(), _run_of(request))
        name, offset = request.path["name"], request.offset()
        async with self._database.reading() as connection:
            kept = await logs.artifacts(connection, run.id)
        about = next((each for each in kept if each.name == name), None)
        if about is None:
            raise errors.ArtifactNotFound
        return StreamingResponse(
            self._parts(run.id, name, offset),
            media_type=about.media_type,
            headers={"Content-Length": str(max(0, about.size - offset))},
        )

    async def _parts(self, run: uuid.UUID, name: str, offset: int) -> AsyncIterator[bytes]:
        while True:
            async with self._database.reading() as connection:
                part = await logs.part(connection, run, name, offset)
            if not part:
                return
            yield part
            offset += len(part)


def _run_of(request: DataRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.path["run"])
    except ValueError:
        raise errors.RunNotFound from None


def _frame(kind: FrameKind, offset: int, content: bytes) -> bytes:
    return HEADER.pack(kind, offset, len(content)) + content
