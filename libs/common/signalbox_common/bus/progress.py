"""Progress of one operation: in order, in few messages, and never more than its budget."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from nats.errors import Error as NatsError

from signalbox_common import background, cloudevents, telemetry
from signalbox_common.bus.client import Bus
from signalbox_common.contracts.base import MAX_BODY
from signalbox_common.contracts.events import ProgressEvent, ProgressOmitted
from signalbox_common.errors import EventTooLarge
from signalbox_common.keys import uuid7

log = telemetry.get_logger()

COALESCED = 0.05
"""Seconds that a message waits for others to join it."""
FULL = 16 * 1024
"""Bytes of a message that waits no longer."""
LAST_PATIENCE = 10.0
"""Seconds that the last messages are waited for where the stream does not answer."""
BUDGET = 8 * 1024 * 1024
KEPT = 24 * 3600
"""Seconds for which the stream keeps it."""
WAITING = 64
"""Messages that may wait to be stored; whoever says more waits, too."""
_AGAIN = 0.2


@dataclass(frozen=True)
class Spent:
    """How far the progress of an operation has come: kept by whoever may have to go on with it elsewhere."""

    number: int = 0
    bytes: int = 0
    omitted_events: int = 0
    omitted_bytes: int = 0


class Progress:
    """Tells of one operation, from `async with` on; what is said last has been stored when that ends."""

    def __init__(
        self,
        bus: Bus,
        operation: str,
        *,
        project: uuid.UUID | None,
        spent: Spent | None = None,
        budget: int = BUDGET,
        kept: int = KEPT,
    ) -> None:
        self._bus = bus
        self._operation = operation
        self._project = project
        self._budget = budget
        self._kept = kept
        began = spent or Spent()
        self._number, self._bytes = began.number, began.bytes
        self._omitted_events, self._omitted_bytes = began.omitted_events, began.omitted_bytes
        self._open: ProgressEvent | None = None
        self._size = 0
        """Bytes of all that is open, each by itself."""
        self._said = 0
        """How many are joined in it."""
        self._closing: asyncio.TimerHandle | None = None
        self._ready: asyncio.Queue[ProgressEvent] = asyncio.Queue(WAITING)
        self._storing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._storing = asyncio.create_task(self._store_all(), name="progress")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(LAST_PATIENCE):
                await self._put_open()
                if self._omitted_events:
                    self._number += 1
                    await self._ready.put(
                        ProgressOmitted(
                            number=self._number, events=self._omitted_events, bytes=self._omitted_bytes
                        )
                    )
                await self._ready.join()
        except TimeoutError:
            log.warning("progress lost", operation=self._operation, messages=self._ready.qsize())
        finally:
            await background.end(self._storing)

    @property
    def spent(self) -> Spent:
        return Spent(self._number, self._bytes, self._omitted_events, self._omitted_bytes)

    async def say(self, event: ProgressEvent) -> None:
        """Waits only where more is said than can be stored."""
        size = len(event.encode())
        if size > MAX_BODY:
            raise EventTooLarge(event.type(), MAX_BODY)
        if self._omitted_events:
            self._omit(1, size)
            return
        joined = self._open.joined(event) if type(event) is type(self._open) else None
        if joined is not None:
            self._open, self._size, self._said = joined, self._size + size, self._said + 1
        else:
            await self._put_open()
            self._open, self._size, self._said = event, size, 1
            self._closing = asyncio.get_running_loop().call_later(COALESCED, self._close_later)
        if self._size >= FULL:
            await self._put_open()

    def _close_later(self) -> None:
        self._closing = None
        self._put_due()

    def _put_due(self) -> None:
        """What has waited long enough, as soon as there is room; until then it goes on being joined."""
        if self._open is not None and self._closing is None and not self._ready.full():
            event, self._open = self._within_budget(self._open), None
            if event is not None:
                self._ready.put_nowait(event)

    async def _put_open(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._open is not None:
            event, self._open = self._within_budget(self._open), None
            if event is not None:
                await self._ready.put(event)

    def _within_budget(self, event: ProgressEvent) -> ProgressEvent | None:
        """With its number; None, and counted, where the budget does not reach."""
        numbered = event.model_copy(update={"number": self._number + 1})
        size = len(numbered.encode())
        if self._omitted_events or self._bytes + size > self._budget:
            self._omit(self._said, self._size)
            return None
        self._number += 1
        self._bytes += size
        return numbered

    def _omit(self, events: int, size: int) -> None:
        self._omitted_events += events
        self._omitted_bytes += size

    async def _store_all(self) -> None:
        while True:
            event = await self._ready.get()
            try:
                await self._store(event)
            finally:
                self._ready.task_done()
            self._put_due()

    async def _store(self, event: ProgressEvent) -> None:
        """Until the stream has it; under one id, so that it keeps the first of one number."""
        service = self._bus.settings.service
        subject = event.subject_in(self._project, service)
        headers = cloudevents.headers_of(event, uuid7(), service, operation=self._operation) | {
            cloudevents.MESSAGE_ID: f"{service}:{self._operation}:{event.number}",
            cloudevents.TTL: f"{self._kept}s",
        }
        while True:
            with suppress(TimeoutError, NatsError):
                await self._bus.store_event(subject, event.encode(), headers)
                return
            log.warning("progress not stored yet", operation=self._operation, number=event.number)
            await asyncio.sleep(_AGAIN)
