"""Both directions at once: a body that is still being sent while its answer comes in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import h11

from signalbox_common.contracts.base import Failure
from signalbox_common.errors import SignalboxError, Unavailable

_PIECE = 64 * 1024
_ANSWER_WITHIN = 20.0
_TAKEN_WITHIN = 40.0
"""Seconds in which what is sent is taken; then nobody listens there."""
_LARGEST_REFUSAL = 64 * 1024
_ERROR = 400


class Tunnel:
    """Bytes to and from who is behind a route; open until one of both has ended."""

    def __init__(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        await self._say(h11.Data(data=data))

    async def end(self) -> None:
        """There is no more to send."""
        await self._say(h11.EndOfMessage())

    async def read(self) -> bytes:
        """What has come; nothing at the end. Raises Unavailable where it was cut."""
        try:
            event = await self._next()
        except (h11.RemoteProtocolError, OSError) as error:
            raise Unavailable("The connection was cut.") from error
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def begin(self) -> None:
        """Raises what is refused."""
        response = await self._next()
        if not isinstance(response, h11.Response):
            raise Unavailable("The data plane does not answer.")
        if response.status_code >= _ERROR:
            body = b""
            while (more := await self.read()) and len(body) < _LARGEST_REFUSAL:
                body += more
            raise SignalboxError.of(failure_of(body, response.status_code))

    async def _say(self, event: h11.Data | h11.EndOfMessage) -> None:
        try:
            self._writer.write(self._connection.send(event) or b"")
            async with asyncio.timeout(_TAKEN_WITHIN):
                await self._writer.drain()
        except (OSError, TimeoutError, h11.LocalProtocolError) as error:
            raise Unavailable("The connection was cut.") from error

    async def _next(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._reader.read(_PIECE))
        return event


@asynccontextmanager
async def tunnel(
    address: str, method: str, path: str, headers: list[tuple[str, str]]
) -> AsyncIterator[Tunnel]:
    """At `unix:<path>` or `http://<host>:<port>`."""
    connection = h11.Connection(h11.CLIENT)
    try:
        async with asyncio.timeout(_ANSWER_WITHIN):
            reader, writer = await _connected(address)
    except (OSError, TimeoutError) as error:
        raise Unavailable("The data plane does not answer.") from error
    try:
        told = [("Host", "data"), ("Transfer-Encoding", "chunked"), *headers]
        writer.write(connection.send(h11.Request(method=method, target=path, headers=told)) or b"")
        opened = Tunnel(connection, reader, writer)
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                await opened.begin()
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise Unavailable("The data plane does not answer.") from error
        yield opened
    finally:
        with suppress(OSError):
            writer.transport.abort()


async def _connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=_PIECE)
    parts = urlsplit(address)
    return await asyncio.open_connection(
        parts.hostname, parts.port, limit=_PIECE, ssl=True if parts.scheme == "https" else None
    )


def failure_of(body: bytes, status: int) -> Failure:
    try:
        return Failure.model_validate_json(body)
    except ValueError:
        return Failure(code="internal", status=status, detail="The data plane answered with an error.")
