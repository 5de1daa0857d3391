"""The live edge of one worker: follows the channels that its clients watch, and misses nothing.

One task takes everything that Redis publishes, in its order, so events leave in the order of their numbers.
Redis loses a subscriber's messages only together with its connection. So a new connection begins with reading
what was missed, from the history or from the stream, before anything that comes over it is delivered; and
whatever else looks like a gap is mended the same way.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from signalbox_common import telemetry
from signalbox_common.errors import SignalboxError
from signalbox_gateway.live.archive import Archive, Extent
from signalbox_gateway.live.events import event_of
from signalbox_gateway.live.history import Entry, History
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.told import Told

log = telemetry.get_logger()

LOOK_EVERY = 1.0
"""Seconds between two looks whether something was missed without a trace."""
MAX_CATCH_UP = 20_000
"""Events that one client is sent at once; who is further behind asks for them in pages."""
CONFIRMED_WITHIN = 5.0
_BATCH = 500
_PAUSE = 0.2


class Behind(Exception):
    """What comes after some place cannot be told as a stream any more: it goes on after `at`."""

    def __init__(self, at: Offset) -> None:
        super().__init__()
        self.at = at


@dataclass(eq=False)
class Watcher:
    """Somebody who watches some channels."""

    channels: frozenset[str]
    deliver: Callable[[Told], None]
    late: Callable[[Told], None]
    """Called where an event came too late to be told in its order."""
    position: int = 0
    """The number of the last event that was delivered, or passed over."""
    begins: int = 0
    """What the past that was read ends with: up to there, events may come once more."""
    held: list[Told] | None = field(default_factory=list)
    """What has come in while the past was read; None once that is done."""

    def take(self, told: Told) -> None:
        if self.held is not None:
            self.held.append(told)
        elif told.sequence > self.position:
            self.position = told.sequence
            self.deliver(told)


class Hub:
    def __init__(self, redis: Redis, archive: Archive) -> None:
        self._redis = redis
        self._archive = archive
        self._history: History | None = None
        self._watchers: dict[str, set[Watcher]] = {}
        self._reached: dict[str, int] = {}
        """Everything of a channel up to that number was delivered here, or was before anybody watched."""
        self._pubsub: PubSub | None = None
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changing = asyncio.Lock()
        self._missing = asyncio.Event()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen(), name="live events"),
            asyncio.create_task(self._look(), name="live heads"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    # -- joining -----------------------------------------------------------------------------------

    async def join(self, watcher: Watcher, resume: Offset | None) -> tuple[Offset, list[Told]]:
        """Answers where the watcher begins and what came after that; what comes now is held until `go_live`.

        Raises Behind where that cannot be told.
        """
        extent = await self._archive.extent()
        if self._history is None or self._history.epoch != extent.epoch:
            self._history = History(self._redis, extent.epoch)
            self._reached.clear()
        history = self._history
        for channel in watcher.channels:
            self._watchers.setdefault(channel, set()).add(watcher)
        try:
            await asyncio.gather(*(self._subscribed(channel) for channel in watcher.channels))
            at = (await history.heads([])).at
            for channel in watcher.channels:
                self._reached.setdefault(channel, extent.last if at is None else at)
            if resume is None:
                watcher.position = extent.last if at is None else at
                return Offset(history.epoch, watcher.position), []
            return resume, await self._past(watcher, history, extent, resume)
        except BaseException:
            await self.leave(watcher)
            raise

    def go_live(self, watcher: Watcher) -> None:
        """Hands over what has come in meanwhile; nothing waits in between."""
        held, watcher.held = watcher.held or [], None
        watcher.begins = watcher.position
        for told in sorted(held, key=_number):
            watcher.take(told)

    async def leave(self, watcher: Watcher) -> None:
        for channel in watcher.channels:
            watching = self._watchers.get(channel)
            if watching is None:
                continue
            watching.discard(watcher)
            if watching:
                continue
            del self._watchers[channel]
            self._reached.pop(channel, None)
            self._confirmed.pop(channel, None)
            async with self._changing:
                if channel not in self._watchers and self._pubsub is not None:
                    with suppress(RedisError, OSError):
                        await self._pubsub.unsubscribe(channel)

    async def _past(self, watcher: Watcher, history: History, extent: Extent, resume: Offset) -> list[Told]:
        if resume.epoch != extent.epoch or not extent.first - 1 <= resume.sequence <= extent.last:
            raise Behind(Offset(extent.epoch, extent.last))
        head, missed = await self._missed(history, sorted(watcher.channels), resume.sequence)
        if len(missed) > MAX_CATCH_UP:
            raise Behind(Offset(history.epoch, head))
        watcher.position = missed[-1].sequence if missed else resume.sequence
        return missed

    async def _missed(self, history: History, channels: Sequence[str], after: int) -> tuple[int, list[Told]]:
        """How far Redis is, and everything of these channels after that number, in order."""
        at, recent = await history.recent(channels, after)
        head = at if at is not None else (await self._archive.extent()).last
        parts: list[list[Told]] = []
        for channel, found in recent.items():
            until = head if found.floor is None else found.floor
            if after < until:
                parts.append(await self._stored(history, channel, after, until))
            parts.append(
                [self._told(history, channel, entry) for entry in found.entries if entry.sequence > until]
            )
        return head, list(heapq.merge(*parts, key=_number))

    @staticmethod
    def _told(history: History, channel: str, entry: Entry) -> Told:
        return Told(Offset(history.epoch, entry.sequence), channel, entry.type, entry.text)

    async def _stored(self, history: History, channel: str, after: int, until: int) -> list[Told]:
        """From the stream, as far as Redis was."""
        project = channel.split(":")[1]
        found: list[Told] = []
        while after < until and len(found) <= MAX_CATCH_UP:
            batch = await self._archive.after(f"evt.{project}.>", after, _BATCH)
            for stored in batch:
                event = event_of(stored.subject, stored.headers, stored.body, stored.sequence)
                if event is not None and channel in event.channels and stored.sequence <= until:
                    offset = Offset(history.epoch, stored.sequence)
                    found.append(Told(offset, channel, event.type, event.text.encode()))
            if not batch:
                break
            after = batch[-1].sequence
        return found

    # -- listening ---------------------------------------------------------------------------------

    async def _subscribed(self, channel: str) -> None:
        """Returns when Redis has confirmed that it sends us that channel."""
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
            async with self._changing:
                if self._pubsub is not None:
                    with suppress(RedisError, OSError):  # a new connection subscribes to all of them
                        await self._pubsub.subscribe(channel)
        await asyncio.wait_for(asyncio.shield(confirmed), CONFIRMED_WITHIN)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await self._follow(pubsub)
            except (RedisError, OSError, SignalboxError, TimeoutError) as error:
                log.warning("live events are followed anew", reason=repr(error)[:200])
            finally:
                self._pubsub = None
            await asyncio.sleep(_PAUSE)

    async def _follow(self, pubsub: PubSub) -> None:
        """One connection, until it ends: everything is subscribed to before it is asked what was missed."""
        async with self._changing:
            awaited = {"progress", *self._watchers}
            await pubsub.subscribe(*awaited)
            self._pubsub = pubsub
        early = []
        while awaited:
            message = await pubsub.get_message(timeout=CONFIRMED_WITHIN)
            if message is None:
                raise TimeoutError("Redis does not confirm subscriptions")
            if message["type"] == "subscribe":
                awaited.discard(message["channel"].decode())
                self._confirm(message["channel"].decode())
            else:
                early.append(message)
        await self._repair()
        for message in early:
            await self._on_message(message)
        while True:
            message = await pubsub.get_message(timeout=LOOK_EVERY)
            if self._missing.is_set():
                self._missing.clear()
                await self._repair()
            if message is not None:
                await self._on_message(message)

    def _confirm(self, channel: str) -> None:
        confirmed = self._confirmed.get(channel)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    async def _on_message(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        if message["type"] == "subscribe":
            self._confirm(channel)
        if message["type"] != "message" or channel not in self._watchers or self._history is None:
            return
        epoch, _, raw = message["data"].partition(b" ")
        if epoch.decode() != self._history.epoch:
            return
        entry = Entry.read(raw)
        reached = self._reached.setdefault(channel, entry.previous)
        if entry.previous > reached:
            await self._repair()
        elif entry.sequence > reached:
            self._deliver(self._told(self._history, channel, entry))

    def _deliver(self, told: Told) -> None:
        self._reached[told.channel] = told.sequence
        for watcher in tuple(self._watchers.get(told.channel, ())):
            if watcher.held is None and watcher.begins < told.sequence <= watcher.position:
                watcher.late(told)
            else:
                watcher.take(told)

    async def _look(self) -> None:
        """A lost event that was the last of its channel shows in nothing but the heads."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            with suppress(RedisError, OSError):
                if await self._behind():
                    self._missing.set()

    async def _behind(self) -> dict[str, int]:
        """The channels of which something was missed, and how far each was reached."""
        if self._history is None or not self._reached:
            return {}
        heads = await self._history.heads(list(self._reached))
        return {
            channel: reached
            for channel, reached in self._reached.items()
            if max(heads.lasts.get(channel, 0), heads.floors.get(channel, 0)) > reached
        }

    async def _repair(self) -> None:
        """Reads whatever was missed in any channel, and delivers it in order."""
        behind = await self._behind()
        history = self._history
        if not behind or history is None:
            return
        parts = []
        heads: dict[str, int] = {}
        for after in sorted(set(behind.values())):
            channels = [channel for channel, reached in behind.items() if reached == after]
            head, missed = await self._missed(history, channels, after)
            parts.append(missed)
            heads |= dict.fromkeys(channels, head)
        for told in heapq.merge(*parts, key=_number):
            if told.sequence > self._reached.get(told.channel, told.sequence):
                self._deliver(told)
        for channel, head in heads.items():
            if channel in self._reached:
                self._reached[channel] = max(self._reached[channel], head)


def _number(told: Told) -> int:
    return told.sequence
