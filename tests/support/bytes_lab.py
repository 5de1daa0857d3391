"""A lab service on the data plane: files by name, and by what is in them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import Conflict, Invalid, NotFound

CHUNK = 256 * 1024
READ = DataRoute("GET", "/files/{name}", "tasks.read-file", least_role=ProjectRole.VIEWER)
PUT = DataRoute("PUT", "/changes/{sha256}", "tasks.put-changes")
FOLLOW = DataRoute("GET", "/follow", "tasks.follow")
IDLE = DataRoute("GET", "/idle", "tasks.idle")
START = DataRoute("PUT", "/processes/{key}", "tasks.execute")


class Fenced(Conflict):
    code = "fenced"
    detail = "Somebody later is at work."


class OtherDigest(Invalid):
    code = "other_digest"
    detail = "This is not what its name says."


@dataclass
class BytesLab:
    """What it holds, and what was asked of it."""

    folder: Path
    fence: int = 0
    started: list[str] = field(default_factory=list)
    before_start: Callable[[], Awaitable[None]] | None = None
    """What a handler waits for that starts something."""
    sent: int = 0
    """Bytes of the stream that is followed."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody who had followed what is idle is gone."""

    def register(self, server: DataServer) -> None:
        server.on(READ)(self.read)
        server.on(PUT)(self.put)
        server.on(FOLLOW)(self.follow)
        server.on(IDLE)(self.idle)
        server.on(START)(self.start)

    async def read(self, request: DataRequest) -> Response:
        path = self.folder / str(request.principal.project()) / request.path["name"]
        if path.parent.parent != self.folder or not path.is_file():
            raise NotFound("There is no such file.")
        offset = request.offset()
        size = path.stat().st_size - offset

        async def chunks() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    yield chunk

        return StreamingResponse(chunks(), headers={"Content-Length": str(size)})

    async def put(self, request: DataRequest) -> Response:
        folder = self.folder / str(request.principal.project())
        folder.mkdir(exist_ok=True)
        name, digest = request.path["sha256"], hashlib.sha256()
        draft = folder / f".{name}"
        with draft.open("wb") as file:
            async for chunk in request.body():
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != name:
            draft.unlink()
            raise OtherDigest
        draft.replace(folder / name)
        return Response(b"stored")

    async def follow(self, _request: DataRequest) -> Response:
        async def for_ever() -> AsyncIterator[bytes]:
            while True:
                self.sent += CHUNK
                yield bytes(CHUNK)
                await asyncio.sleep(0)

        return StreamingResponse(for_ever())

    async def idle(self, _request: DataRequest) -> Response:
        async def one() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                self.left.set()

        return StreamingResponse(one())

    async def start(self, request: DataRequest) -> Response:
        if self.before_start is not None:
            await self.before_start()
        if request.fence is None or request.fence < self.fence:
            raise Fenced
        self.fence = request.fence
        self.started.append(request.path["key"])
        return Response(b"started")
