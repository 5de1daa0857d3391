"""Whether the stream of commands stores what it is sent: a connection that stands does not say so."""

import asyncio
import time

from signalbox_common.bus.connection import Connection
from signalbox_common.cloudevents import TTL
from signalbox_common.contracts.streams import COMMANDS, STORE_PROBE

_GOOD_FOR = 1.0
_PATIENCE = 0.9


class StoreProbe:
    """Puts a message there that nobody takes, and that goes by itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._stored_at = float("-inf")

    async def check(self) -> None:
        """Raises where it is not stored; those who ask together, or soon after, share one answer."""
        async with self._lock:
            asked_at = time.monotonic()
            if asked_at - self._stored_at < _GOOD_FOR:
                return
            await self._connection.ready(_PATIENCE)
            await self._connection.jetstream.publish(
                STORE_PROBE, b"", timeout=_PATIENCE, stream=COMMANDS.name, headers={TTL: "1s"}
            )
            self._stored_at = asked_at
