"""Who is asking at the edge: the access token, and the grants that it is worth."""

import hashlib
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from signalbox_common.bus import Bus
from signalbox_common.contracts.auth import GetGrant
from signalbox_common.errors import Unauthenticated
from signalbox_common.principal import ACCESS_AUDIENCE, TokenVerifier

CACHED = 10_000
_MARGIN = 5.0
"""Seconds before its end at which a grant is not used any more."""

_bearer = HTTPBearer(auto_error=False, description="An access token from `POST /api/v1/auth/login`.")


@dataclass(frozen=True)
class Asker:
    """A person whose token was checked here; services check the grant for themselves."""

    user_id: uuid.UUID
    username: str
    token: str


class Expiring:
    """A bounded map whose entries end at a time of their own; the oldest makes room."""

    def __init__(self, size: int = CACHED) -> None:
        self._size = size
        self._entries: OrderedDict[object, tuple[float, object]] = OrderedDict()

    def get(self, key: object) -> object | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= time.time():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: object, value: object, until: float) -> None:
        self._entries[key] = (until, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


class Identity:
    """Checks tokens and fetches grants; both are kept until they end."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tokens = TokenVerifier(bus.keys, "at+jwt", ACCESS_AUDIENCE)
        self._askers = Expiring()
        self._grants = Expiring()

    async def asker(self, token: str) -> Asker:
        key = hashlib.sha256(token.encode()).digest()
        known = self._askers.get(key)
        if isinstance(known, Asker):
            return known
        claims = await self._tokens.verify(token)
        try:
            asker = Asker(uuid.UUID(claims["sub"]), str(claims["usr"]), token)
        except (KeyError, ValueError) as error:
            raise Unauthenticated("The token is incomplete.") from error
        self._askers.put(key, asker, float(claims["exp"]))
        return asker

    async def grant(self, asker: Asker, service: str, project: uuid.UUID | None = None) -> str:
        key = (asker.token, service, project)
        known = self._grants.get(key)
        if isinstance(known, str):
            return known
        answer = await self._bus.query(
            GetGrant(token=SecretStr(asker.token), audience=service, project=project)
        )
        fresh = answer.value()
        until = (fresh.expires_at - datetime.now(UTC)).total_seconds() - _MARGIN
        self._grants.put(key, fresh.grant, time.time() + until)
        return fresh.grant


async def current_asker(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Asker:
    if credentials is None:
        raise Unauthenticated
    identity: Identity = request.app.state.clients.identity
    return await identity.asker(credentials.credentials)


CurrentAsker = Annotated[Asker, Depends(current_asker)]
