"""Rates: who is counted as whom, and told so with every answer."""

import asyncio
import re
from collections.abc import Iterable
from enum import StrEnum

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signalbox_common.bus.headers import client
from signalbox_gateway.addresses import neighbours, parsed
from signalbox_gateway.allowances import PER, Allowance, Allowances
from signalbox_gateway.errors import TooManyRequests
from signalbox_gateway.identity import Identity, known_asker, signed_asker
from signalbox_gateway.peers import HELD, PATIENCE
from signalbox_gateway.previews import PREVIEW
from signalbox_gateway.problems import of_error

_PROBES = frozenset(
    ("/health", "/api/v1/health", "/api/v1/liveness", "/api/v1/readiness", "/api/v1/health/ready")
)
"""Whoever looks after the installation asks these, and must always be answered."""
_CREDENTIALS = re.compile(r"/api/v1/auth/(register|login|refresh|device/(code|token))")
_LINKS = (PREVIEW, "/api/v1/hooks/")
_STREAMS = frozenset(("/api/v1/sse", "/api/v1/ws"))
"""What tickets open, which are links, too."""


class RouteClass(StrEnum):
    """What is counted together."""

    PROBES = "probes"
    CREDENTIALS = "credentials"
    """By address, apart from the rest: who fills one up does not keep others there from signing in."""
    LINKS = "links"
    """By address; pages have many parts, and forges tell much at once."""
    OTHER = "other"
    """By person, or by address where nobody is known."""


def class_of(path: str) -> RouteClass:
    if path in _PROBES:
        return RouteClass.PROBES
    if _CREDENTIALS.fullmatch(path):
        return RouteClass.CREDENTIALS
    return RouteClass.LINKS if path.startswith(_LINKS) else RouteClass.OTHER


class RateLimits:
    """A token that nobody has seen here yet counts for its address: who makes some up gains nothing."""

    def __init__(
        self, app: ASGIApp, *, allowances: Allowances, identity: Identity, anonymous: int, user: int
    ) -> None:
        self._app = app
        self._allowances = allowances
        self._identity = identity
        self._anonymous = anonymous
        self._user = user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, limit = self._counted(scope) if scope["type"] != "lifespan" else ("", 0)
        if not limit:
            await self._app(scope, receive, send)
            return
        allowance = await self._allowances.take(key, limit)
        if not allowance.granted and key.startswith(RouteClass.OTHER):
            # After a restart nobody is known, and whoever shares an address with many comes again with them.
            asker = await signed_asker(self._identity, scope)
            if asker is not None and not self._user:
                await self._app(scope, receive, send)
                return
            if asker is not None:
                allowance = await self._allowances.take(f"user:{asker.user_id}", self._user)

        async def send_on(message: Message) -> None:
            if message["type"].endswith("http.response.start"):  # of HTTP, or of a WebSocket that is refused
                message["headers"] = [*message.get("headers", ()), *_told(allowance)]
            await send(message)

        if allowance.granted:
            await self._app(scope, receive, send_on)
            return
        if allowance.refusals > PATIENCE:
            await asyncio.sleep(HELD)
        await of_error(TooManyRequests(allowance.retry_after))(scope, receive, send_on)

    def _counted(self, scope: Scope) -> tuple[str, int]:
        kind = class_of(scope["path"])
        if kind is RouteClass.PROBES:
            return "", 0
        if kind is RouteClass.OTHER and b"ticket=" in scope["query_string"] and scope["path"] in _STREAMS:
            kind = RouteClass.LINKS
        if kind is RouteClass.OTHER:
            asker = known_asker(self._identity, scope)
            if asker is not None:
                return f"user:{asker.user_id}", self._user
        address = parsed(client.get().address or "")
        who = neighbours(address) if address is not None else "unknown"
        return f"{kind}:{who}", self._user if kind is RouteClass.LINKS else self._anonymous


def _told(allowance: Allowance) -> Iterable[tuple[bytes, bytes]]:
    """As they are sent: this is done for every answer."""
    return (
        (b"ratelimit-limit", b"%d" % allowance.limit),
        (b"ratelimit-remaining", b"%d" % allowance.left),
        (b"ratelimit-reset", b"%d" % allowance.full_after),
        (b"ratelimit-policy", b"%d;w=%d" % (allowance.limit, PER)),
    )
