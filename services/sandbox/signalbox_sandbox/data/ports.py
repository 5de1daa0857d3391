"""Connections to what listens in a sandbox."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from signalbox_common import background
from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import Unavailable
from signalbox_sandbox import errors
from signalbox_sandbox.data.desk import DataDesk
from signalbox_sandbox.runtime.base import Runtime

MOST = 128
"""Of one sandbox at a time."""
STALLED, SILENT = 30.0, 3600.0
"""Seconds in which who listens takes something, and says something."""
_PIECE = 64 * 1024
_LAST_PORT = 65_535


class PortRoutes:
    def __init__(self, desk: DataDesk, runtime: Runtime) -> None:
        self._desk = desk
        self._runtime = runtime
        self._open: Counter[uuid.UUID] = Counter()

    def register(self, server: DataServer) -> None:
        server.on(contract.CONNECT_TO_PORT)(self._connect)

    async def _connect(self, request: DataRequest) -> Response:
        sandbox = await self._desk.sandbox(request)
        port = request.path["port"]
        if not (port.isdecimal() and 1 <= int(port) <= _LAST_PORT):
            raise errors.NobodyListens
        if self._open[sandbox] >= MOST:
            raise errors.TooManyConnections
        self._open[sandbox] += 1
        try:
            async with self._desk.asking(sandbox):
                line = await self._runtime.connect(sandbox, int(port))
            reader, writer = await asyncio.open_connection(sock=line, limit=_PIECE)
        except BaseException:
            self._left(sandbox)
            raise
        return _Conversation(request, reader, writer, partial(self._left, sandbox))

    def _left(self, sandbox: uuid.UUID) -> None:
        self._open[sandbox] -= 1
        if not self._open[sandbox]:
            del self._open[sandbox]


class _Conversation(Response):
    """Answers while the request is still being sent."""

    def __init__(
        self,
        request: DataRequest,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        closed: Callable[[], None],
    ) -> None:
        super().__init__(media_type="application/octet-stream")
        del self.headers["content-length"]
        self._request = request
        self._reader = reader
        self._writer = writer
        self._closed = closed

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """What is cut stays without its end, so that nobody takes it for whole."""
        going_in = asyncio.create_task(_pass_on(self._request, self._writer))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            while data := await self._heard():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await background.end(going_in)
            self._writer.transport.abort()
            self._closed()

    async def _heard(self) -> bytes:
        """Nothing at its end, or where nobody has said a word for long."""
        try:
            async with asyncio.timeout(SILENT):
                return await self._reader.read(_PIECE)
        except (OSError, TimeoutError):
            return b""


async def _pass_on(request: DataRequest, writer: asyncio.StreamWriter) -> None:
    """Its end is told; one that was cut ends the whole connection."""
    try:
        async for chunk in request.body():
            writer.write(chunk)
            async with asyncio.timeout(STALLED):
                await writer.drain()
        writer.write_eof()
    except (OSError, TimeoutError, Unavailable):
        with suppress(OSError):
            writer.transport.abort()
