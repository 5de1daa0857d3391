"""What a stranger sends that is no whole request: heads and bodies without an end, and many of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Http, Installation

KIB = 1024


class Raw:
    """A connection over which anything is sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    @asynccontextmanager
    async def to(address: str) -> AsyncIterator["Raw"]:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Raw(reader, writer)
        finally:
            writer.transport.abort()

    async def send(self, *parts: bytes) -> None:
        """Until the other side does not take any more."""
        try:
            for part in parts:
                self._writer.write(part)
                await self._writer.drain()
        except OSError:
            pass

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split(" ")[1]), headers, json.loads(body)

    async def is_cut(self) -> bool:
        try:
            return await asyncio.wait_for(self._reader.read(), 20) == b""
        except OSError:
            return True


def gateway(installation: Installation, **bounds: Any) -> AbstractAsyncContextManager[tuple[Http, str]]:
    return installation.served_gateway(**bounds)


BEGIN = b"GET /health HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "head",
    [
        BEGIN + b"X: " + b"x" * 70 * KIB + b"\r\n\r\n",
        BEGIN + b"".join(b"X-%d: x\r\n" % number for number in range(120)) + b"\r\n",
        b"GET /health?" + b"x" * 70 * KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["one", "many", "address"],
)
async def test_a_head_that_is_too_large(installation: Installation, head: bytes) -> None:
    async with gateway(installation) as (_, address), Raw.to(address) as raw:
        await raw.send(head)
        status, headers, problem = await raw.answer()
        assert (status, problem["code"]) == (431, "headers_too_large")
        assert headers["x-request-id"] == headers["x-correlation-id"] == problem["correlationId"]
        assert headers["x-content-type-options"] == "nosniff"
        assert await raw.is_cut()


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"x" * 997], ids=["lines", "one line"])
async def test_a_head_without_an_end_is_not_taken(installation: Installation, piece: bytes) -> None:
    async with gateway(installation) as (_, address), Raw.to(address) as raw:
        sent = 0
        await raw.send(BEGIN + b"X: ")

        async def send() -> None:
            nonlocal sent
            while not raw._writer.transport.is_closing():
                await raw.send(piece * 10)
                sent += 10 * len(piece)

        await asyncio.wait_for(send(), 20)
        assert sent < 8 * KIB * KIB, "what is on the way counts, and no more is taken"


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"x" * 997], ids=["lines", "one line"])
async def test_what_follows_a_body_without_an_end_is_not_taken(
    installation: Installation, piece: bytes
) -> None:
    async with gateway(installation) as (http, address), Raw.to(address) as raw:
        await raw.send(CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ")

        async def send() -> None:
            while not raw._writer.transport.is_closing():
                await raw.send(piece * 10)

        await asyncio.wait_for(send(), 20)
        assert (await http.get("/health")).status_code == 200


async def test_a_body_that_does_not_come(installation: Installation) -> None:
    """Whoever sends slowly, but sends, is waited for."""
    async with gateway(installation, body_timeout=0.5) as (_, address):
        async with Raw.to(address) as raw:
            await raw.send(CHUNKED + b"Content-Length: 500\r\n\r\n{")
            status, _, problem = await raw.answer()
            assert (status, problem["code"]) == (408, "request_timeout")
            assert await raw.is_cut()
        async with Raw.to(address) as raw:
            text = json.dumps({"username": "x" * 100 * KIB, "password": "x"}).encode()
            await raw.send(CHUNKED + b"Content-Length: %d\r\n\r\n" % len(text))
            step = 20 * KIB
            for begin in range(0, len(text), step):
                await raw.send(text[begin : begin + step])
                await asyncio.sleep(0.2)
            assert (await raw.answer())[0] == 422


async def test_so_many_connections_from_one_address_and_no_more(installation: Installation) -> None:
    async with (
        gateway(installation, connections_per_address=3) as (_, address),
        Raw.to(address) as first,
        Raw.to(address),
        Raw.to(address),
    ):
        async with Raw.to(address) as fourth:
            status, headers, problem = await fourth.answer()
            assert (status, problem["code"]) == (429, "too_many_connections")
            assert headers["retry-after"]
        await first.send(BEGIN + b"Connection: close\r\n\r\n")
        assert (await first.answer())[0] == 200

        async def room() -> bool:
            async with Raw.to(address) as again:
                await again.send(BEGIN + b"\r\n")
                return (await again.answer())[0] == 200

        await eventually(room, what="whoever has left makes room")


async def test_so_many_requests_at_once_on_one_connection_and_no_more(installation: Installation) -> None:
    async with gateway(installation) as (_, address):
        async with Raw.to(address) as raw:
            await raw.send((BEGIN + b"\r\n") * 20)
            assert [(await raw.answer())[0] for _ in range(20)] == [200] * 20
        async with Raw.to(address) as raw:
            await raw.send((BEGIN + b"\r\n") * 5_000)
            assert await raw.is_cut()


async def test_bodies_have_room_together(installation: Installation) -> None:
    async with (
        gateway(installation, bodies_memory=600 * KIB) as (http, address),
        Raw.to(address) as raw,
    ):
        await raw.send(CHUNKED + b"Content-Length: 500000\r\n\r\n", b"x" * 499_000)
        body = b'"' + b"x" * 200 * KIB + b'"'
        json_ = {"Content-Type": "application/json"}

        async def refused() -> bool:
            answer = await http.post("/api/v1/auth/login", content=body, headers=json_)
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            return bool(answer.headers["retry-after"])

        await eventually(refused)
        raw._writer.transport.abort()

        async def room() -> bool:
            return (await http.post("/api/v1/auth/login", content=body, headers=json_)).status_code == 422

        await eventually(room, what="a client that leaves makes room")
