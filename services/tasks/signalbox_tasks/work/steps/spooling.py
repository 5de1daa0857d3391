"""What goes from one service to another, and may have to be sent again."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import IO

from signalbox_common import changesets
from signalbox_tasks.work.turn import StepFailed

IN_MEMORY = 8 * 1024 * 1024
LARGEST = changesets.LARGEST + 64 * 1024 * 1024
"""With headers and the manifest."""
_PIECE = 256 * 1024


async def spool(reading: AsyncGenerator[bytes, None], into: IO[bytes]) -> tuple[str, int]:
    """Its digest and its size; raises StepFailed where it is more than is taken at a time."""
    digest, size = hashlib.sha256(), 0
    async with aclosing(reading) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > LARGEST:
                raise StepFailed("changes_too_large", "It has changed more than is taken at a time.")
            digest.update(chunk)
            into.write(chunk)
    return digest.hexdigest(), size


async def spooled_pieces(spooled: IO[bytes]) -> AsyncIterator[bytes]:
    """From its beginning, each time."""
    spooled.seek(0)
    while piece := spooled.read(_PIECE):
        yield piece
