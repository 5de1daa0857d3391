"""Asks another service for bytes, and gives it some; goes on where it was cut."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx

from signalbox_common import telemetry
from signalbox_common.contracts.base import Failure
from signalbox_common.contracts.dataplane import FENCE, DataRoute
from signalbox_common.errors import SignalboxError, Unavailable

log = telemetry.get_logger()

CHUNK = 256 * 1024
PATIENCE = httpx.Timeout(10.0, read=60.0)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
TRIES = 8
"""In a row that brought nothing."""

Grant = Callable[[], Awaitable[str]]
"""A grant for the service that is asked, good for the next minute."""
Source = Callable[[], AsyncIterator[bytes]]
"""A body, from its beginning each time."""


class DataClient:
    """Of one service at one address: `unix:<path>` or `http://<host>:<port>`."""

    def __init__(self, address: str, grant: Grant, *, fence: int | None = None) -> None:
        unix = address.removeprefix("unix:") if address.startswith("unix:") else None
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=unix),
            base_url="http://data" if unix is not None else address,
            timeout=PATIENCE,
            trust_env=False,
        )
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
        pause, tries = _FIRST_PAUSE, 0
        while True:
            try:
                async with self._open(route, names, {"from": str(offset)}) as response:
                    async for chunk in response.aiter_raw(CHUNK):
                        offset += len(chunk)
                        pause, tries = _FIRST_PAUSE, 0
                        yield chunk
                    return
            except httpx.TransportError as error:
                tries += 1
                if tries >= TRIES:
                    raise Unavailable("The data plane does not answer.") from error
                log.debug("goes on reading", offset=offset, reason=repr(error)[:200])
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

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
    async def _open(
        self,
        route: DataRoute,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        path = route.path.format_map({name: quote(value, safe="") for name, value in names.items()})
        headers = {"Authorization": f"Bearer {await self._grant()}"}
        if self._fence is not None:
            headers[FENCE] = str(self._fence)
        async with self._client.stream(
            route.method, path, params=dict(query), headers=headers, content=body
        ) as response:
            if response.is_error:
                raise SignalboxError.of(_failure(await response.aread(), response.status_code))
            yield response


def _failure(body: bytes, status: int) -> Failure:
    try:
        return Failure.model_validate_json(body)
    except ValueError:
        return Failure(code="internal", status=status, detail="The data plane answered with an error.")
