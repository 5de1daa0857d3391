"""`WS /api/v1/ws`: who speaks, and for how long."""

import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.types import Receive, Send
from starlette.websockets import WebSocketDisconnect

from signalbox_common import background
from signalbox_common.errors import SignalboxError
from signalbox_gateway.closing import NOT_AUTHENTICATED, TOKEN_EXPIRED, TOO_SLOW, TRY_LATER, UNSUPPORTED
from signalbox_gateway.identity import Asker, Identity
from signalbox_gateway.live.connections import CLOSES, OpenConnection
from signalbox_gateway.live.node import Node
from signalbox_gateway.live.subscription import Subscriptions
from signalbox_gateway.live.transport import TRANSPORT, Transport
from signalbox_gateway.sockets import AUTH_WITHIN, shown_by

routes = APIRouter()

_LONGEST = 24 * 3600.0


class Disconnect(Exception):
    """The connection ends here."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@routes.websocket("/api/v1/ws")
async def websocket(socket: WebSocket) -> None:
    """One connection: authenticated by header, cookie, ticket or first message; closed when that ends."""
    identity: Identity = socket.app.state.clients.identity
    try:
        asker = await shown_by(socket)
    except SignalboxError as error:
        await socket.close(NOT_AUTHENTICATED if error.status < 500 else TRY_LATER, error.code)
        return
    await socket.accept()
    transport = socket.scope["extensions"].get(TRANSPORT)
    if not isinstance(transport, Transport):
        await socket.close(TRY_LATER, "this server cannot stream")
        return
    session = _Session(socket.app.state.node, identity, transport, asker)
    transport.continuation = session.go_on


class _Session:
    """What goes on over one connection."""

    __slots__ = ("_asker", "_identity", "_node", "_transport")

    def __init__(self, node: Node, identity: Identity, transport: Transport, asker: Asker | None) -> None:
        self._node = node
        self._identity = identity
        self._transport = transport
        self._asker = asker

    async def go_on(self, receive: Receive, send: Send) -> None:
        """Until the client leaves or what it stands on ends."""
        try:
            asker = self._asker or await _await_auth(receive, self._identity)
            await _serve(receive, self._node, self._transport, self._identity, asker)
        except Disconnect as disconnect:
            await send({"type": "websocket.close", "code": disconnect.code, "reason": disconnect.reason})
        except WebSocketDisconnect:
            return


async def _await_auth(receive: Receive, identity: Identity) -> Asker:
    try:
        message = await asyncio.wait_for(_read(receive), AUTH_WITHIN)
    except TimeoutError:
        raise Disconnect(NOT_AUTHENTICATED, "unauthenticated") from None
    if message.get("type") != "auth" or not isinstance(message.get("token"), str):
        raise Disconnect(NOT_AUTHENTICATED, "unauthenticated")
    return await _verify(identity, message["token"])


async def _verify(identity: Identity, token: str) -> Asker:
    try:
        return await identity.asker(token)
    except SignalboxError as error:
        code = NOT_AUTHENTICATED if error.status < 500 else TRY_LATER
        raise Disconnect(code, error.code) from error


async def _serve(
    receive: Receive, node: Node, transport: Transport, identity: Identity, asker: Asker
) -> None:
    """A new token in time goes on."""
    subscriptions = Subscriptions(node, transport, asker)
    try:
        while True:
            with node.connections.track(asker) as connection:
                await _while_open(subscriptions.stand_on(asker), connection)
                subscriptions.send({"type": "ready"})
                token = await _until_new_token(receive, subscriptions, connection)
            renewed = await _verify(identity, token)
            if renewed.user_id != asker.user_id:
                raise Disconnect(NOT_AUTHENTICATED, "another_user")
            asker = renewed
    finally:
        if subscriptions.slow.done():
            transport.close()
        await subscriptions.close()


async def _until_new_token(receive: Receive, subscriptions: Subscriptions, connection: OpenConnection) -> str:
    while True:
        left = min(connection.asker.expires_at - time.time(), _LONGEST)
        reading = asyncio.create_task(_read(receive))
        waiting: set[asyncio.Future[Any]] = {reading, connection.ended, subscriptions.slow}
        try:
            await asyncio.wait(waiting, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if connection.ended.done():
                why = connection.ended.result()
                raise Disconnect(CLOSES[why], why)
            if subscriptions.slow.done():
                raise Disconnect(TOO_SLOW, "resync")
            if not reading.done():
                raise Disconnect(TOKEN_EXPIRED, "token_expired")
            message = reading.result()
        finally:
            if not reading.done():
                reading.cancel()
            # With what it has raised they would hold each other, and all of the connection, for a long time.
            del reading, waiting
        match message:
            case {"type": "ping"}:
                subscriptions.send({"type": "pong"})
            case {"type": "subscribe"}:
                await _while_open(subscriptions.subscribe(message), connection)
            case {"type": "unsubscribe"}:
                await subscriptions.unsubscribe(message.get("ref"))
            case {"type": "auth", "token": str(token)}:
                return token
            case _:
                subscriptions.refuse(None, "unknown_message", "This is no message that is understood here.")


async def _while_open(work: Coroutine[Any, Any, None], connection: OpenConnection) -> None:
    """Nobody stays for longer because something that they asked for takes its time."""
    working = asyncio.create_task(work)
    try:
        waiting: set[asyncio.Future[Any]] = {working, connection.ended}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await background.end(working)


async def _read(receive: Receive) -> dict[str, Any]:
    """One message; what is no JSON object is as good as an empty one."""
    received = await receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received["code"])
    text = received.get("text")
    if text is None:
        raise Disconnect(UNSUPPORTED, "text_only")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
