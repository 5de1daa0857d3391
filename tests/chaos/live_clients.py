"""Clients of both kinds that are cut off, connect again, and go on where they were."""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from signalbox_cli.live.gateway import Parser
from tests.chaos.live_lines import Line

PAUSE = 0.1
ANSWER_WITHIN = 20.0


class Refused(Exception):
    """Not now."""


class Client(ABC):
    """Connects for as long as it runs."""

    def __init__(
        self, address: str, http: httpx.AsyncClient, headers: dict[str, str], lines: Sequence[Line]
    ) -> None:
        self.address = address
        self.http = http
        self.headers = headers
        self.lines = lines
        self.live = False
        self.connections = 0
        self.refusals: Counter[str] = Counter()
        self._awake = asyncio.Event()
        self._awake.set()

    async def run(self, rng: random.Random) -> None:
        while True:
            await self._awake.wait()
            try:
                for line in self.lines:
                    await line.recover(self.http, self.headers)
                await self.connected()
            except Refused as error:
                self.refusals[str(error)] += 1
            except (httpx.HTTPError, OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as error:
                self.refusals[type(error).__name__] += 1
            self.live = False
            await asyncio.sleep(rng.random() * PAUSE)

    @abstractmethod
    async def connected(self) -> None:
        """One connection, until it ends."""

    @abstractmethod
    async def cut(self) -> None:
        """Ends it in the middle of whatever it does."""

    async def sleep(self) -> None:
        """Is cut off, and does not come again before it wakes."""
        self._awake.clear()
        await self.cut()

    def wake(self) -> None:
        self._awake.set()


class SseClient(Client):
    _reading: "asyncio.Task[None] | None" = None

    async def connected(self) -> None:
        self._reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait([self._reading])
        finally:
            self._reading.cancel()
        if not self._reading.cancelled():
            self._reading.result()

    async def _read(self) -> None:
        (line,) = self.lines
        query = {"project": line.projects[0]} if len(line.projects) == 1 else {}
        place = {"Last-Event-ID": line.place} if line.place is not None else {}
        parser = Parser()
        began = False
        timeout = httpx.Timeout(ANSWER_WITHIN)
        async with self.http.stream(
            "GET", "/api/v1/sse", params=query, headers=self.headers | place, timeout=timeout
        ) as answer:
            if answer.status_code != 200:
                raise Refused(f"{answer.status_code}")
            self.connections += 1
            self.live = True
            async for chunk in answer.aiter_raw():
                for block in parser.feed(chunk):
                    if block.name == "resync":
                        line.resync(json.loads(block.data or ""))
                        await line.recover(self.http, self.headers)
                    elif block.name is not None and block.id is not None:
                        line.event(block.id, json.loads(block.data or "")["id"])
                    elif block.id is not None and not began:
                        line.begins(block.id)
                    began = True

    async def cut(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self.live = False


class SocketClient(Client):
    _socket: ClientConnection | None = None

    async def connected(self) -> None:
        url = f"ws://{self.address}/api/v1/ws"
        async with connect(url, additional_headers=self.headers, open_timeout=ANSWER_WITHIN) as socket:
            self._socket = socket
            try:
                await self._subscribe(socket)
                self.connections += 1
                self.live = True
                while True:
                    await self._take(await self._said(socket, None))
            finally:
                self._socket = None
                if self.live:
                    self.live = False

    async def _subscribe(self, socket: ClientConnection) -> None:
        await self._said(socket)
        for ref, line in enumerate(self.lines):
            place = {"resumeFrom": line.place} if line.place is not None else {}
            wanted = {"type": "subscribe", "ref": str(ref), "project": line.projects[0]} | place
            await socket.send(json.dumps(wanted))
        for _ in self.lines:
            while (await self._take(await self._said(socket))) != "subscribed":
                pass

    async def _said(self, socket: ClientConnection, within: float | None = ANSWER_WITHIN) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), within))
        return message

    async def _take(self, message: dict[str, Any]) -> str:
        kind = str(message["type"])
        if kind == "error":
            raise Refused(message["code"])
        line = self.lines[int(message["ref"])]
        if kind == "event":
            line.event(message["id"], message["event"]["id"])
        elif kind == "resync":
            line.resync(message)
            await line.recover(self.http, self.headers)
        elif kind == "subscribed" and (line.place is None or message["at"] == line.place):
            line.begins(message["at"])
        return kind

    async def cut(self) -> None:
        self.live = False
        if self._socket is not None:
            with suppress(AttributeError):  # closed a moment ago
                self._socket.transport.abort()
