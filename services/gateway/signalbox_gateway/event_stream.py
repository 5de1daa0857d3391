"""Server-sent events of what is read elsewhere: bytes, and what programs say."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from signalbox_common import background
from signalbox_common.errors import SignalboxError

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
KEEPALIVE_EVERY = 15.0
KEEPALIVE = b":\n\n"


async def with_pauses(items: AsyncIterator[T]) -> AsyncGenerator[T | None, None]:
    """None whenever nothing came for a while, which is told to the client, too."""
    following = asyncio.create_task(_next(items))
    try:
        while True:
            await asyncio.wait([following], timeout=KEEPALIVE_EVERY)
            if not following.done():
                yield None
                continue
            item = following.result()
            if item is None:
                return
            yield item
            following = asyncio.create_task(_next(items))
    finally:
        await background.end(following)


async def _next(items: AsyncIterator[T]) -> T | None:
    """None at the end."""
    return await anext(items, None)


def event(name: str, data: bytes, offset: int) -> bytes:
    """Its id is where whoever connects again goes on."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (offset, name.encode(), data)


def error_event(error: SignalboxError) -> bytes:
    return b"event: error\ndata: %b\n\n" % error.failure().encode()
