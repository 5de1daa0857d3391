"""Who opens a WebSocket, as its request shows."""

import asyncio
import json

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from signalbox_common.errors import Unauthenticated
from signalbox_gateway import cookies
from signalbox_gateway.errors import OriginMissing
from signalbox_gateway.identity import Asker, Identity
from signalbox_gateway.live.tickets import Tickets
from signalbox_gateway.origins import Origins

AUTH_WITHIN = 10.0
"""Seconds for the `auth` message of a client that has shown nothing yet."""


async def shown_by(socket: WebSocket) -> Asker | None:
    """By a header, a ticket or a cookie; None where it shows nothing."""
    identity: Identity = socket.app.state.clients.identity
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return await identity.asker(token)
    ticket = socket.query_params.get("ticket")
    if ticket is not None:
        tickets: Tickets = socket.app.state.tickets
        return await identity.asker(await tickets.redeem(ticket))
    cookie = socket.cookies.get(cookies.ACCESS)
    if cookie is None:
        return None
    # Browsers let any page open a WebSocket, cookies included, but always say which page it was.
    origins: Origins = socket.app.state.cookies.origins
    origins.refuse_foreign(socket)
    if "origin" not in socket.headers:
        raise OriginMissing
    return await identity.asker(cookie)


async def said_by(socket: WebSocket) -> Asker:
    """By the first message of one that was accepted: `{"type": "auth", "token": ...}`."""
    identity: Identity = socket.app.state.clients.identity
    try:
        async with asyncio.timeout(AUTH_WITHIN):
            message = json.loads(await socket.receive_text())
    except (TimeoutError, ValueError, KeyError, WebSocketDisconnect, RecursionError) as error:
        raise Unauthenticated from error
    match message:
        case {"type": "auth", "token": str(token)}:
            return await identity.asker(token)
    raise Unauthenticated
