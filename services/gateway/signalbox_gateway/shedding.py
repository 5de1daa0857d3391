"""Load shedding: whoever would wait too long is told at once to come later, strangers first."""

import asyncio
from collections import deque

from prometheus_client import Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signalbox_common import background
from signalbox_common.errors import ServiceOverloaded
from signalbox_gateway.identity import Identity, known_asker
from signalbox_gateway.problems import of_error
from signalbox_gateway.rates import RouteClass, class_of

LAG = Gauge("signalbox_http_lag_seconds", "How far the process is behind with what it should have done")
_LOOK_EVERY = 0.2
_LOOKS = 3
"""In a row that are late before it counts: one that is late alone is over already."""


class Lag:
    """How late this process comes to what it wanted to do."""

    def __init__(self) -> None:
        self._last: deque[float] = deque([0.0] * _LOOKS, _LOOKS)
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        return min(self._last)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="lag")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(_LOOK_EVERY)
            self._last.append(clock() - began - _LOOK_EVERY)
            LAG.set(self.seconds)


class LoadShedding:
    """0 turns a bound off. Strangers have half of both."""

    def __init__(self, app: ASGIApp, *, lag: Lag, identity: Identity, most_lag: float, most: int) -> None:
        self._app = app
        self._lag = lag
        self._identity = identity
        self._most_lag = 2 * most_lag
        self._most = most
        self._waiting = 0
        """Requests that nothing was answered to yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or class_of(scope["path"]) is RouteClass.PROBES:
            await self._app(scope, receive, send)
        elif self._is_too_much(scope):
            await of_error(ServiceOverloaded())(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    def _is_too_much(self, scope: Scope) -> bool:
        if not self._beyond(0.5):
            return False
        return self._beyond(1.0) or known_asker(self._identity, scope) is None

    def _beyond(self, part: float) -> bool:
        lag, most = self._most_lag * part, self._most * part
        return 0 < lag < self._lag.seconds or 0 < most <= self._waiting

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted = 1
        self._waiting += 1

        async def send_on(message: Message) -> None:
            nonlocal counted
            self._waiting -= counted
            counted = 0
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            self._waiting -= counted
