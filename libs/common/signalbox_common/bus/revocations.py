"""Follows the stream of revocations, and knows within a second when it does not hear it any more."""

import asyncio
import time
from contextlib import suppress
from datetime import datetime

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from signalbox_common import background, telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import is_message
from signalbox_common.bus.stored import StreamReader
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.streams import REVOCATIONS, REVOKING
from signalbox_common.errors import Unavailable
from signalbox_common.revoked import Revocations

log = telemetry.get_logger()

SILENCE = 0.9
"""Seconds without a word after which everything is read anew."""
_PAUSE = 0.1
_PAGE = 500


class Follower:
    """Reads the whole stream, which is short, then hears what one consumer sends to all; anew at a gap."""

    def __init__(self, connection: Connection, revoked: Revocations) -> None:
        self._connection = connection
        self._reader = StreamReader(connection, REVOCATIONS)
        self._revoked = revoked
        self._task: asyncio.Task[None] | None = None
        self._position: int | None = None
        """Number of the last one taken; None while the stream is read."""
        self._meanwhile: list[Msg] = []
        self._spoken = 0.0
        self._broken = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="revocations")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (NatsError, OSError, TimeoutError, Unavailable) as error:
                log.debug("revocations are followed anew", reason=repr(error)[:200])
            await asyncio.sleep(_PAUSE)

    async def _follow(self) -> None:
        await self._connection.wait_up()
        client = self._connection.client
        self._broken.clear()
        self._position = None
        self._meanwhile.clear()
        subscription = await client.subscribe(str(REVOKING.sends_to), cb=self._on_message)
        try:
            await client.flush(timeout=1)
            self._position = await self._read_all()
            self._hear(0)
            meanwhile, self._meanwhile = self._meanwhile, []
            for message in meanwhile:
                await self._on_message(message)
            while (left := self._spoken + SILENCE - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._broken.wait()
                    return
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _read_all(self) -> int:
        """All that the stream holds; answers up to where that is."""
        async with asyncio.timeout(SILENCE):
            position, last = 0, (await self._reader.state()).last
        while position < last:
            # Each page has its time: however long the stream is, its reading comes to an end.
            async with asyncio.timeout(SILENCE):
                page = await self._reader.after(REVOKING.subject, position, _PAGE)
            for stored in page:
                self._learn(stored.body, stored.stored_at)
            position = page[-1].sequence if page else last
        return position

    async def _on_message(self, message: Msg) -> None:
        if self._position is None:
            self._meanwhile.append(message)
        elif not self._broken.is_set():
            self._take(message, self._position)

    def _take(self, message: Msg, position: int) -> None:
        if is_message(message):
            meta = message.metadata
            sequence, pending = meta.sequence.stream, meta.num_pending
            if sequence == position + 1:
                self._position = position = sequence
                self._learn(message.data, meta.timestamp)
        else:
            # A heartbeat tells what was sent last: whoever has not got that has missed something.
            sequence, pending = int((message.headers or {}).get("Nats-Last-Stream", "0")), 0
        if sequence > position:
            self._broken.set()
        else:
            self._hear(pending)

    def _learn(self, body: bytes, at: datetime) -> None:
        try:
            self._revoked.take(AccessRevoked.model_validate_json(body), at)
        except ValidationError as error:
            log.warning("a revocation that cannot be read", errors=error.error_count())

    def _hear(self, pending: int) -> None:
        self._spoken = time.monotonic()
        if not pending:
            self._revoked.heard()
