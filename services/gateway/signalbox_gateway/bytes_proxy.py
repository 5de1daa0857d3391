"""Bytes between people and the services that hold them: as they are, as server-sent events, by WebSocket."""

import base64
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import Request, WebSocket
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.dataplane import Body, DataClient, number_of
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway import event_stream
from signalbox_gateway.closing import ENDED, close_of
from signalbox_gateway.errors import SessionEnded
from signalbox_gateway.identity import Asker, Identity
from signalbox_gateway.live.connections import (
    CLOSES,
    EndReason,
    OpenConnections,
    connections_of,
    while_allowed,
)


@dataclass(frozen=True)
class Place:
    """What is asked for: a route of a service, at the address of the instance that holds it."""

    route: DataRoute
    address: str
    project: uuid.UUID
    names: dict[str, str]


class BytesProxy:
    """Everything that it opens is opened with a grant for who asks; their service checks and cuts it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def upload(self, request: Request, asker: Asker, place: Place, *, status: int = 200) -> Response:
        """The body goes on as it comes, no faster than it is taken."""
        async with self._client(asker, place) as client:
            answer = await client.pass_on(place.route, _chunks(request), **place.names)
        return Response(answer, status, media_type="application/json")

    async def download(
        self,
        asker: Asker,
        place: Place,
        offset: int = 0,
        media_type: str = "application/octet-stream",
        name: str | None = None,
    ) -> Response:
        """From an offset on; who is cut asks for the rest from the next byte on."""
        opened = await _Opened.of(self._client(asker, place), place, offset)
        headers = {
            # As they are: compressing what is streamed would hold it up.
            "Content-Encoding": "identity",
            "Content-Disposition": _disposition(name),
            **({"Content-Length": str(opened.body.left)} if opened.body.left is not None else {}),
        }
        return StreamedBody(asker, aiter(opened.body), opened.close, media_type, headers)

    async def events(self, request: Request, asker: Asker, place: Place, offset: int = 0) -> Response:
        """Each with the offset after it as its id, so that a browser that connects again misses nothing."""
        said = request.headers.get("last-event-id")
        offset = number_of(said, "Last-Event-ID") if said else offset
        opened = await _Opened.of(self._client(asker, place), place, offset)
        return StreamedBody(
            asker, _events(opened), opened.close, event_stream.MEDIA_TYPE, event_stream.HEADERS
        )

    async def socket(self, socket: WebSocket, asker: Asker, place: Place, offset: int = 0) -> None:
        """Binary messages as they come; of an accepted WebSocket, which is closed at the end."""
        try:
            opened = await _Opened.of(self._client(asker, place), place, offset)
        except SignalboxError as error:
            await socket.close(*close_of(error))
            return
        why = await _while_there(
            connections_of(socket.scope), asker, _send(socket, opened), socket.receive, opened.close
        )
        if why is not None:
            await socket.close(CLOSES[why], why)

    def _client(self, asker: Asker, place: Place) -> DataClient:
        return self.client(asker, place.route.service, place.address, place.project, place.route.does)

    def client(
        self, asker: Asker, service: str, address: str, project: uuid.UUID, purpose: str
    ) -> DataClient:
        """Of the data plane there, in the name of who asks."""

        async def grant() -> str:
            return (await self._identity.grant(asker, service, project, purpose=purpose)).grant

        return DataClient(address, grant)


class _Opened:
    """A body that has begun, and what is closed with it."""

    def __init__(self, body: Body, stack: AsyncExitStack) -> None:
        self.body = body
        self.close = stack.aclose

    @staticmethod
    async def of(client: DataClient, place: Place, offset: int) -> "_Opened":
        """Raises what its service refuses with, before anything is sent to who asks."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            body = await stack.enter_async_context(client.body(place.route, offset, **place.names))
            return _Opened(body, stack.pop_all())


class StreamedBody(Response):
    """Ends with its client, also while there is nothing to send, and with what its asker stands on."""

    def __init__(
        self,
        asker: Asker,
        chunks: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=dict(headers))
        if "Content-Length" not in headers:
            del self.headers["content-length"]
        self._asker = asker
        self._begun = False
        self._chunks = chunks
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connections, sending = connections_of(scope), self._stream(send)
        why = await _while_there(connections, self._asker, sending, receive, self._close)
        if why is not None and self._begun and self.media_type == event_stream.MEDIA_TYPE:
            said = event_stream.error_event(SessionEnded() if why is EndReason.REVOKED else Unavailable())
            await send({"type": "http.response.body", "body": said, "more_body": False})

    async def _stream(self, send: Send) -> None:
        """What is cut stays without its end, so that nobody takes it for whole; events say it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._begun = True
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _while_there(
    connections: OpenConnections,
    asker: Asker,
    sending: Coroutine[Any, Any, None],
    receive: Receive,
    close: Callable[[], Awaitable[None]],
) -> EndReason | None:
    """Until all is sent, or nobody is there who would or may take it; what else they say is not heard."""

    async def until_it_leaves() -> None:
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass

    try:
        return await while_allowed(connections, asker, sending, until_it_leaves())
    finally:
        await close()


def _disposition(name: str | None) -> str:
    """Never to be shown; names may hold what a header may not."""
    return "attachment" if name is None else f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def _events(opened: _Opened) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(event_stream.with_pauses(aiter(opened.body))) as chunks:
            async for chunk in chunks:
                if chunk is None:
                    yield event_stream.KEEPALIVE
                else:
                    yield event_stream.event("bytes", base64.b64encode(chunk), opened.body.offset)
        yield b"event: end\ndata: {}\n\n"
    except SignalboxError as error:
        yield event_stream.error_event(error)


async def _send(socket: WebSocket, opened: _Opened) -> None:
    try:
        async for chunk in opened.body:
            await socket.send_bytes(chunk)
    except SignalboxError as error:
        await socket.close(*close_of(error))
    except WebSocketDisconnect:
        return
    else:
        await socket.close(ENDED)
