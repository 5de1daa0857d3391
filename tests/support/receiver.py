"""Who is notified: an HTTP server that remembers what it was sent, and answers as it is told to."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from signalbox_common.testing import eventually

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
SILENCE = b""
"""No answer at all, for as long as whoever asks waits."""


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} So", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.told["data"]

    def signed_with(self, secret: str) -> bool:
        """As receivers check it, with nothing of ours."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        right = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        is_fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return is_fresh and right in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    port: int = 0
    heard: list[Received] = field(default_factory=list)
    answers: dict[str, deque[bytes]] = field(default_factory=dict)
    """By path, what comes next; the last one again and again."""

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def says(self, *answers: bytes, path: str = "/hook") -> None:
        self.answers[path] = deque(answers)

    def at(self, path: str = "/hook") -> list[Received]:
        return [each for each in self.heard if each.path == path]

    async def told(self, count: int = 1, path: str = "/hook", within: float = 20.0) -> list[Received]:
        """All that was sent there, once it is so much."""

        async def so() -> Any:
            found = self.at(path)
            return found if len(found) >= count else None

        found: list[Received] = await eventually(so, within=within, what=f"{path} is told {count} times")
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:])
                if name
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            assert method == "POST"
            self.heard.append(Received(path, headers, body, time.monotonic()))
            following = self.answers.get(path, deque([OK]))
            said = following.popleft() if len(following) > 1 else following[0]
            if said == SILENCE:
                await reader.read()
            writer.write(said)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1")
    receiver.port = int(server.sockets[0].getsockname()[1])
    try:
        yield receiver
    finally:
        server.close()
