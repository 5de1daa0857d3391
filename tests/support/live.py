"""What tests of live events share: the role that carries them, clients of both kinds, and events to tell."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from signalbox_cli.live.gateway import Block, Parser
from signalbox_common.bus import Bus
from signalbox_common.testing import eventually
from signalbox_gateway.live import protocol
from tests.support.installation import Installation
from tests.support.lab import NoteTaken

SSE = "/api/v1/sse"


def fanout(installation: Installation) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A process of its own, which may be killed where the installation is of one test alone."""
    return installation.shared("fan-out", lambda: _fanout(installation))


def fanout_with(
    installation: Installation, settings: Mapping[str, str]
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """One with settings of its own."""
    return _fanout(installation, **settings)


@asynccontextmanager
async def _fanout(installation: Installation, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "signalbox_common.start",
        "signalbox_gateway.fanout.app",
        env=os.environ | installation.environment("fanout") | settings,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass
class Teller:
    """Has the tasks service tell notes."""

    bus: Bus
    count: int = 0

    async def tell(self, project: str, count: int = 1, text: str = "") -> None:
        for _ in range(count):
            self.count += 1
            note = NoteTaken(text=text or str(self.count))
            await self.bus.publish(note, project=uuid.UUID(project))


@asynccontextmanager
async def telling(installation: Installation) -> AsyncIterator[Teller]:
    async with installation.bus("tasks") as bus:
        yield Teller(bus)


@dataclass
class Stream:
    """One connection of server-sent events, read on in the background until it ends."""

    blocks: list[Block] = field(default_factory=list)
    answer: httpx.Response | None = None
    ended: bool = False
    comments: int = 0

    @property
    def events(self) -> list[Block]:
        return [block for block in self.blocks if block.name not in (None, "resync")]

    @property
    def texts(self) -> list[Any]:
        return [json.loads(block.data or "")["data"]["text"] for block in self.events]

    @property
    def last_id(self) -> str | None:
        return next((block.id for block in reversed(self.blocks) if block.id is not None), None)

    async def until(self, holds: Callable[[], object], within: float = 30.0) -> None:
        async def look() -> bool:
            return bool(holds())

        await eventually(look, within=within, what="what is waited for on the stream")

    async def run(self, url: str, headers: dict[str, str], query: dict[str, Any]) -> None:
        parser = Parser()
        try:
            async with (
                httpx.AsyncClient(timeout=httpx.Timeout(10, read=None)) as client,
                client.stream("GET", url, params=query, headers=headers) as answer,
            ):
                self.answer = answer
                if answer.status_code != 200:
                    await answer.aread()
                    return
                async for chunk in answer.aiter_raw():
                    self.comments += chunk.count(b":\n\n") if chunk.startswith(b":") else 0
                    self.blocks += parser.feed(chunk)
        except httpx.TransportError:
            pass  # cut off: what has come counts
        finally:
            self.ended = True


@asynccontextmanager
async def streaming(
    address: str, headers: dict[str, str], path: str = SSE, after: str | None = None, **query: Any
) -> AsyncIterator[Stream]:
    """It is open when this begins; closed by its client when it has not ended before."""
    stream = Stream()
    more = {"Last-Event-ID": after} if after is not None else {}
    reading = asyncio.create_task(stream.run(f"http://{address}{path}", headers | more, query))
    try:
        await stream.until(lambda: stream.blocks or stream.ended)
        yield stream
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error


@asynccontextmanager
async def socket(address: str, headers: dict[str, str]) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{address}/api/v1/ws", additional_headers=headers) as connection:
        assert await said(connection) == {"type": "ready"}
        yield connection


async def said(connection: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), 10))
    protocol.SERVER_MESSAGE.validate_python(message, strict=False)
    return message


async def say(connection: ClientConnection, **message: Any) -> None:
    await connection.send(json.dumps(message))
