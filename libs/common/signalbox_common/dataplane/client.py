"""Asks another service for bytes, and gives it some; goes on where it was cut."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx

from signalbox_common import telemetry
from signalbox_common.contracts.dataplane import FENCE, DataRoute
from signalbox_common.dataplane.tunnel import Tunnel, failure_of, tunnel
from signalbox_common.errors import SignalboxError, Unavailable

log = telemetry.get_logger()

PATIENCE = httpx.Timeout(10.0, read=60.0)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
TRIES = 8
"""In a row that brought nothing."""

Grant = Callable[[], Awaitable[str]]
"""A grant for the service that is asked, good for the next minute."""
Source = Callable[[], AsyncIterator[bytes]]
"""A body, from its beginning each time."""


Open = Callable[[dict[str, str]], AbstractAsyncContextManager[httpx.Response]]
"""Asks with this query."""


class DataClient:
    """Of one service at one address: `unix:<path>` or `http://<host>:<port>`.

    Names that are not in the path of a route are its query.
    """

    def __init__(self, address: str, grant: Grant, *, fence: int | None = None) -> None:
        unix = address.removeprefix("unix:") if address.startswith("unix:") else None
        self._client = httpx.AsyncClient(
            # To read all certificates takes longer than most requests.
            transport=httpx.AsyncHTTPTransport(uds=unix, verify=address.startswith("https:")),
            base_url="http://data" if unix is not None else address,
            timeout=PATIENCE,
            trust_env=False,
        )
        self._address = address
        self._grant = grant
        self._fence = fence

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def read(self, route: DataRoute, offset: int = 0, /, **names: str) -> AsyncGenerator[bytes, None]:
        """All bytes from there on, each once and in order, however often the connection is cut."""
        async with self.body(route, offset, **names) as body:
            async for chunk in body:
                yield chunk

    def body(self, route: DataRoute, offset: int = 0, /, **names: str) -> "Body":
        """The same for those who want to know that it has begun before its first byte is there."""
        return Body(partial(self._open, route, names), offset)

    async def pass_on(self, route: DataRoute, body: AsyncIterator[bytes], /, **names: str) -> bytes:
        """The answer; for a body that cannot be had again, so it is sent once."""
        try:
            async with self._open(route, names, {}, body) as response:
                return await response.aread()
        except httpx.TransportError as error:
            raise Unavailable("The data plane does not answer.") from error

    async def write(self, route: DataRoute, source: Source, /, **names: str) -> bytes:
        """The answer; begins anew where the connection was cut: what is written is known by its name."""
        pause = _FIRST_PAUSE
        for left in range(TRIES - 1, -1, -1):
            try:
                async with self._open(route, names, {}, source()) as response:
                    return await response.aread()
            except httpx.TransportError as error:
                if not left:
                    raise Unavailable("The data plane does not answer.") from error
                log.debug("writes again", reason=repr(error)[:200])
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def tunnel(self, route: DataRoute, /, **names: str) -> AsyncIterator[Tunnel]:
        """Both directions at once; raises what is refused before anything is sent."""
        path = _path(route, names)
        async with tunnel(self._address, route.method, path, list((await self._headers()).items())) as opened:
            yield opened

    @asynccontextmanager
    async def _open(
        self,
        route: DataRoute,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        query = {name: value for name, value in names.items() if f"{{{name}}}" not in route.path} | dict(
            query
        )
        headers = await self._headers()
        async with self._client.stream(
            route.method, _path(route, names), params=dict(query), headers=headers, content=body
        ) as response:
            if response.is_error:
                raise SignalboxError.of(failure_of(await response.aread(), response.status_code))
            yield response

    async def _headers(self) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {await self._grant()}"}
        return headers if self._fence is None else headers | {FENCE: str(self._fence)}


def _path(route: DataRoute, names: Mapping[str, str]) -> str:
    return route.path.format_map({name: quote(value, safe="") for name, value in names.items()})


class Body:
    """Bytes from an offset on; goes on where it was cut."""

    def __init__(self, open_: Open, offset: int) -> None:
        self.offset = offset
        """Of the next byte."""
        self.left: int | None = None
        """How many bytes there were to come when it began, where that was said."""
        self._open = open_
        self._stack = AsyncExitStack()
        self._response: httpx.Response | None = None
        self._pause, self._tries = _FIRST_PAUSE, 0

    async def __aenter__(self) -> Self:
        await self._begin()
        length = self._response.headers.get("content-length") if self._response is not None else None
        self.left = int(length) if length is not None else None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while self._response is not None:
            try:
                async for chunk in self._response.aiter_raw():  # as they come: none waits for others
                    self.offset += len(chunk)
                    self._pause, self._tries = _FIRST_PAUSE, 0
                    yield chunk
                return
            except httpx.TransportError as error:
                await self._stack.aclose()
                await self._later(error)
                await self._begin()

    async def once(self) -> AsyncGenerator[bytes, None]:
        """For those who know better where to go on; raises `httpx.TransportError` where it is cut."""
        if self._response is not None:
            async for chunk in self._response.aiter_raw():
                yield chunk

    async def _begin(self) -> None:
        while True:
            try:
                opened = self._open({"from": str(self.offset)})
                self._response = await self._stack.enter_async_context(opened)
            except httpx.TransportError as error:
                await self._later(error)
            else:
                return

    async def _later(self, error: httpx.TransportError) -> None:
        self._tries += 1
        if self._tries >= TRIES:
            raise Unavailable("The data plane does not answer.") from error
        log.debug("goes on reading", offset=self.offset, reason=repr(error)[:200])
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
