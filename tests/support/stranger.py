"""One anonymous client that takes all it can get: `python -m tests.support.stranger ADDRESS`.

It comes from an address of its own: heads and trailers without an end, bodies of which half comes, people who
register, and looks at the health of everything.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

FROM = "127.0.0.2"
HEADS, TRAILERS, BODIES, REGISTRATIONS, LOOKS = 100, 50, 300, 100, 50
"""At a time."""
PAUSE = 0.05
"""Seconds after a refusal."""
_JSON = b"Host: x\r\nContent-Type: application/json\r\n"
_LOGIN = b"POST /api/v1/auth/login HTTP/1.1\r\n" + _JSON

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connected]:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(FROM, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def endless_head(connection: Connected) -> None:
    await without_end(connection, b"GET / HTTP/1.1\r\nHost: x\r\n")


async def endless_trailers(connection: Connected) -> None:
    await without_end(connection, _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")


async def without_end(connection: Connected, beginning: bytes) -> None:
    _, writer = connection
    writer.write(beginning)
    number = 0
    while not writer.transport.is_closing():
        number += 1
        writer.write(b"X-%d: %d\r\n" % (number, number) * 20)
        await writer.drain()
        await asyncio.sleep(0)


async def half_a_body(connection: Connected) -> None:
    reader, writer = connection
    writer.write(_LOGIN + b"Content-Length: 500000\r\n\r\n" + b" " * 400_000)
    await writer.drain()
    await reader.read()


async def register(connection: Connected) -> None:
    name = f"s{random.getrandbits(60):x}"
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery staple"}
    text = json.dumps(body).encode()
    head = b"POST /api/v1/auth/register HTTP/1.1\r\n" + _JSON + b"Content-Length: %d\r\n\r\n" % len(text)
    await ask(connection, head + text)


async def look(connection: Connected) -> None:
    await ask(connection, b"GET /api/v1/health/detailed HTTP/1.1\r\nHost: x\r\n\r\n")


async def ask(connection: Connected, request: bytes) -> None:
    reader, writer = connection
    while True:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].partition(b":")[2]))
        if b" 200 " not in head.split(b"\r\n")[0]:
            await asyncio.sleep(PAUSE)


async def again_and_again(attack: Callable[[Connected], Awaitable[None]], address: str) -> None:
    while True:
        try:
            async with connected(address) as connection:
                await attack(connection)
        except (OSError, EOFError, IndexError):
            pass
        await asyncio.sleep(PAUSE)


async def main(address: str) -> None:
    attacks = (
        *[endless_head] * HEADS,
        *[endless_trailers] * TRAILERS,
        *[half_a_body] * BODIES,
        *[register] * REGISTRATIONS,
        *[look] * LOOKS,
    )
    await asyncio.gather(*(again_and_again(each, address) for each in attacks))


if __name__ == "__main__":
    os.nice(19)  # it is another machine's work
    asyncio.run(main(sys.argv[1]))
