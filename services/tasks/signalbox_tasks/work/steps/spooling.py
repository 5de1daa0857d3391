"""What goes from one service to another, and may have to be sent again."""

from collections.abc import AsyncIterator
from typing import IO

IN_MEMORY = 8 * 1024 * 1024
_PIECE = 256 * 1024


async def spooled_pieces(spooled: IO[bytes]) -> AsyncIterator[bytes]:
    """From its beginning, each time."""
    spooled.seek(0)
    while piece := spooled.read(_PIECE):
        yield piece
