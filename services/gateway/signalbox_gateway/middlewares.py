"""What every request passes before a route looks at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from signalbox_common.space import DiskSpace
from signalbox_gateway.addresses import Addresses
from signalbox_gateway.allowances import Allowances
from signalbox_gateway.edge import Edge
from signalbox_gateway.identity import Identity
from signalbox_gateway.peers import BodyRoom
from signalbox_gateway.previews import PREVIEW
from signalbox_gateway.rates import RateLimits
from signalbox_gateway.routes import bodies
from signalbox_gateway.settings import GatewaySettings
from signalbox_gateway.shedding import Lag, LoadShedding
from signalbox_gateway.space import DiskGuard

EXPOSED = [
    *("Location", "X-Operation-ID", "X-Request-ID", "X-Correlation-ID", "ETag", "Retry-After"),
    "Server-Timing",
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"),
]


class _Cors(CORSMiddleware):
    """But for previews, which are nobody's origin."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREVIEW):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@dataclass(frozen=True)
class Guards:
    """What decides who comes in at all."""

    lag: Lag
    allowances: Allowances
    identity: Identity
    space: DiskSpace

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        self.lag.start()
        try:
            yield
        finally:
            await self.lag.stop()


def add_middlewares(
    app: FastAPI, settings: GatewaySettings, limits: bodies.Limits = (), guards: Guards | None = None
) -> None:
    """What every request passes, the last one added first; `limits` of those bodies that may be larger."""
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    if guards is not None:
        app.add_middleware(DiskGuard, space=guards.space)
        app.add_middleware(
            RateLimits,
            allowances=guards.allowances,
            identity=guards.identity,
            anonymous=settings.rate_limit_anonymous,
            user=settings.rate_limit_user,
        )
        app.add_middleware(
            LoadShedding,
            lag=guards.lag,
            identity=guards.identity,
            most_lag=settings.shed_lag,
            most=settings.requests_waiting,
        )
    readable = partial(
        _Cors,
        allow_origins=settings.origins(),
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
    app.add_middleware(readable)
    addresses = Addresses(settings.proxies())
    room = BodyRoom(settings.bodies_memory)
    app.add_middleware(
        Edge, max_body=settings.max_body, limits=limits, addresses=addresses, room=room, readable=readable
    )
