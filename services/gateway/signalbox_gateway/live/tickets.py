"""Tickets for WebSockets: what cannot send a header shows one of these, once, within half a minute."""

import hashlib
import secrets

from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common.errors import Unavailable
from signalbox_common.keys import Sealer
from signalbox_gateway.errors import BadTicket

LIFE = 30
"""Seconds."""
_PREFIX = "sbx_wst_"
_LENGTH = 100


class Tickets:
    """Kept in Redis under their hash; the token behind one is sealed, so that Redis cannot use it."""

    def __init__(self, redis: Redis, secret_key: str) -> None:
        self._redis = redis
        self._sealer = Sealer(secret_key, "ws-tickets")

    async def issue(self, token: str) -> str:
        ticket = _PREFIX + secrets.token_urlsafe(32)
        key = _key(ticket)
        try:
            await self._redis.set(key, self._sealer.seal(token.encode(), key), ex=LIFE)
        except RedisError as error:
            raise Unavailable("Tickets cannot be kept at the moment.") from error
        return ticket

    async def redeem(self, ticket: str) -> str:
        """The token behind it; whoever comes second finds nothing."""
        key = _key(ticket[:_LENGTH])
        try:
            sealed = await self._redis.getdel(key)
        except RedisError as error:
            raise Unavailable("Tickets cannot be checked at the moment.") from error
        if not isinstance(sealed, bytes):
            raise BadTicket
        return self._sealer.open(sealed, key).decode()


def _key(ticket: str) -> str:
    return f"gateway:ws-ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
