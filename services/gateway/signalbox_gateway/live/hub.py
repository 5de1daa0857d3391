"""The live edge of one worker: follows the channels that its clients watch, and misses nothing.

Whatever Redis publishes is taken in its order, so events leave in the order of their numbers. Redis loses a
subscriber's messages only together with its connection. So a new connection begins with reading what was
missed, from the history or from the stream, before anything that comes over it is delivered; and whatever
else looks like a gap is mended the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common import background, telemetry
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway.live.history import Entry, Heads, History
from signalbox_gateway.live.kept import Kept
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told
from signalbox_gateway.live.pubsub import Feed, Published, Subscribed
from signalbox_gateway.live.recovery import Past, told
from signalbox_gateway.live.single_flight import Shared
from signalbox_gateway.live.stream import Archive, Extent
from signalbox_gateway.live.subscriber import Behind, Watcher

__all__ = ["Behind", "Hub", "Watcher"]

log = telemetry.get_logger()

LOOK_EVERY = 0.4
"""Seconds between two looks whether something was missed without a trace."""
ON_ITS_WAY = 0.1
"""Seconds that what Redis has published may take to arrive here."""
STREAM_EVERY = 1.0
"""Seconds between two looks whether the stream is still the same."""
MAX_CATCH_UP = 20_000
"""Events that one client is sent at once; who is further behind asks for them in pages."""
MAX_CATCH_UP_BYTES = 8 * 1024 * 1024
READERS = 32
"""Clients whose past is read at once."""
ANSWERED_WITHIN = 3.0
"""Seconds that Redis has to answer somebody who joins."""
_PAUSE = 0.2
_TROUBLE = (RedisError, OSError, SignalboxError)


class Hub:
    def __init__(self, redis: Redis, archive: Archive) -> None:
        self._redis = redis
        self._archive = archive
        self._extents = Shared(archive.extent)
        self._history: History | None = None
        self._watchers: dict[str, set[Watcher]] = {}
        self._reached: dict[str, int] = {}
        """Everything of a channel up to that number was delivered here, or was before anybody watched."""
        self._kept = Kept()
        self._feed: Feed | None = None
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._in_order = asyncio.Lock()
        """Whoever delivers holds it."""
        self._reading = asyncio.Semaphore(READERS)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(_again(self._listen, _PAUSE), name="live events"),
            asyncio.create_task(_again(self._look, LOOK_EVERY), name="live heads"),
            asyncio.create_task(_again(self._look_at_stream, STREAM_EVERY), name="live stream"),
        ]

    async def stop(self) -> None:
        await background.end(*self._tasks)

    # -- joining -----------------------------------------------------------------------------------

    async def join(self, watcher: Watcher, resume: Offset | None) -> tuple[Offset, list[Told]]:
        """Answers where the watcher begins and what came after that; what comes now is held until `go_live`.

        Raises Behind where that cannot be told: whoever joins again without a place begins where that says.
        """
        again = watcher.goes_on if resume is None else None
        try:
            return await self._joined(watcher, resume or again)
        except BaseException as error:
            self._forget(watcher)
            if isinstance(error, Behind) and again is None:
                watcher.goes_on = error.at
                raise
            if isinstance(error, Behind | RedisError | OSError):
                raise Unavailable("Live events are not available at the moment.") from error
            raise

    async def _joined(self, watcher: Watcher, resume: Offset | None) -> tuple[Offset, list[Told]]:
        extent = await self._extents.get()
        history = await self._of(extent)
        if resume is not None and not (
            resume.epoch == extent.epoch and extent.first - 1 <= resume.sequence <= extent.last
        ):
            raise Behind(Offset(extent.epoch, extent.last))
        watcher.begin(extent.epoch)
        for channel in watcher.channels:
            self._watchers.setdefault(channel, set()).add(watcher)
        await self._subscribed(watcher.channels)
        known = self._known(watcher, history, resume or Offset(extent.epoch, extent.last))
        if known is not None:
            return known
        async with self._reading:
            copied = (await asyncio.wait_for(history.heads([]), ANSWERED_WITHIN)).at
        at = copied if copied is not None else (await self._archive.extent()).last
        # Nothing waits from here on: what others have got up to now is not delivered again, the rest is held.
        for channel in watcher.channels:
            self._kept.begin(channel, self._reached.setdefault(channel, at))
        until = max(at, *(self._reached[channel] for channel in watcher.channels))
        past: list[Told] = []
        if resume is None:
            resume = Offset(history.epoch, max(until, extent.last))
        else:
            past = await self._past(watcher, history, resume, until)
        watcher.position = max(until, resume.sequence)
        if history is not self._history:
            raise Unavailable("The stream of events was made anew.")
        return resume, past

    def _known(self, watcher: Watcher, history: History, resume: Offset) -> tuple[Offset, list[Told]] | None:
        """The same where what others here were told is all that there is to know; it is, of one channel."""
        channel, *more = watcher.channels
        reached = self._reached.get(channel)
        feed = self._feed
        if more or reached is None or feed is None or not feed.has(channel) or history is not self._history:
            return None
        past = self._kept.after(channel, resume.sequence)
        if past is not None:
            watcher.position = max(reached, resume.sequence)
            return resume, past
        return None

    async def _past(self, watcher: Watcher, history: History, resume: Offset, until: int) -> list[Told]:
        places = dict.fromkeys(sorted(watcher.channels), resume.sequence)
        past: list[Told] = []
        size = 0
        async with self._reading:
            async for some in Past(history, self._archive).between(places, until):
                past += some
                size += sum(len(each.text) for each in some)
                if len(past) > MAX_CATCH_UP or size > MAX_CATCH_UP_BYTES:
                    raise Behind(Offset(history.epoch, until))
        for channel in watcher.channels if history is self._history else ():
            its = (each for each in past if each.channel == channel)
            self._kept.add_past(channel, resume.sequence, until, its)
        return past

    def go_live(self, watcher: Watcher) -> None:
        """Hands over what has come in meanwhile; nothing waits in between."""
        watcher.go_live()

    async def leave(self, watcher: Watcher) -> None:
        self._forget(watcher)
        watcher.end()

    def _forget(self, watcher: Watcher) -> None:
        for channel in watcher.channels:
            watching = self._watchers.get(channel)
            if watching is None:
                continue
            watching.discard(watcher)
            if not watching:
                del self._watchers[channel]
                self._reached.pop(channel, None)
                self._kept.forget(channel)
                confirmed = self._confirmed.pop(channel, None)
                if confirmed is not None:
                    confirmed.cancel()
        if self._feed is not None:
            self._feed.look_at(watcher.channels)

    async def _subscribed(self, channels: Collection[str]) -> None:
        """Returns when Redis has confirmed that it sends us these channels.

        One that was confirmed before stays so: what a lost connection costs is told before what comes after.
        """
        waiting = []
        for channel in channels:
            confirmed = self._confirmed.get(channel)
            if confirmed is None:
                confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
            if self._feed is not None and self._feed.has(channel):  # left a moment ago
                self._confirm(Subscribed(channel))
            if not confirmed.done():
                waiting.append(confirmed)
        if waiting:
            if self._feed is not None:
                self._feed.look_at(channels)
            _, late = await asyncio.wait(waiting, timeout=ANSWERED_WITHIN)
            if late:
                raise TimeoutError

    # -- another stream ----------------------------------------------------------------------------

    async def _of(self, extent: Extent) -> History:
        if self._history is None:
            self._history = History(self._redis, extent.epoch)
        elif self._history.epoch != extent.epoch:
            await self._begin_anew()
        return self._history

    async def _look_at_stream(self) -> None:
        if self._history is not None and self._watchers:
            await self._of(await self._archive.extent())

    async def _begin_anew(self) -> None:
        """The stream is another one: numbers of the old one mean nothing, and everybody is told so."""
        async with self._in_order:
            extent = await self._archive.extent()  # whoever has seen another one may have seen an older one
            if self._history is not None and self._history.epoch == extent.epoch:
                return
            history = History(self._redis, extent.epoch)
            copied = (await history.heads([])).at
            at = Offset(extent.epoch, extent.last if copied is None else copied)
            log.warning("the stream of events is another one", epoch=extent.epoch)
            self._history = history
            self._kept.clear()
            self._reached = dict.fromkeys(self._watchers, at.sequence)
            for watcher in {each for watching in self._watchers.values() for each in watching}:
                try:
                    watcher.begin_anew(at)
                except Exception as error:  # noqa: BLE001 - one that is gone costs nobody else
                    log.debug("a client did not take an event", reason=repr(error)[:200])

    # -- listening ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """One connection, until it ends."""
        feed = await Feed.open(self._redis, self._watchers.__contains__)
        self._feed = feed
        tasks = [asyncio.create_task(work) for work in (self._follow(feed), feed.keep())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._feed = None
            await feed.close()
            await background.end(*tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _follow(self, feed: Feed) -> None:
        """Everything is subscribed to before it is asked what was missed."""
        await feed.subscribe(self._watchers)
        early: list[Published] = []
        while not feed.settled:
            said = await feed.read()
            if isinstance(said, Published):
                early.append(said)
            elif said is not None:
                self._confirm(said)
        async with self._in_order:
            await self._repair()
            for each in early:
                await self._take(each)
        while True:
            said = await feed.read()
            if isinstance(said, Subscribed):
                self._confirm(said)
            elif said is not None:
                async with self._in_order:
                    await self._take(said)

    def _confirm(self, subscribed: Subscribed) -> None:
        confirmed = self._confirmed.get(subscribed.channel)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    async def _take(self, published: Published) -> None:
        channel, history = published.channel, self._history
        if channel not in self._watchers or history is None:
            return
        epoch, _, raw = published.data.partition(b" ")
        if epoch.decode() != history.epoch:
            return
        entry = Entry.read(raw)
        reached = self._reached.setdefault(channel, entry.previous)
        if entry.previous > reached:
            await self._repair()
        elif entry.sequence > reached:
            self._deliver(told(history, channel, entry))

    def _deliver(self, each: Told) -> None:
        self._reached[each.channel] = each.sequence
        self._kept.add(each)
        for watcher in tuple(self._watchers.get(each.channel, ())):
            try:
                watcher.take(each)
            except Exception as error:  # noqa: BLE001 - one that is gone costs nobody else
                log.debug("a client did not take an event", reason=repr(error)[:200])

    async def _look(self) -> None:
        """A lost event that was the last of its channel shows in nothing but the heads."""
        if self._history is None or not self._reached:
            return
        heads = await self._history.heads(list(self._reached))
        if self._behind(heads):
            await asyncio.sleep(ON_ITS_WAY)
            if self._behind(heads):
                async with self._in_order:
                    await self._repair()

    def _behind(self, heads: Heads) -> dict[str, int]:
        """The channels of which something was missed, and how far each was reached."""
        return {channel: reached for channel, reached in self._reached.items() if heads.of(channel) > reached}

    async def _repair(self) -> None:
        """Reads whatever was missed in any channel, and delivers it in order."""
        history = self._history
        if history is None or not self._reached:
            return
        heads = await history.heads(list(self._reached))
        behind = self._behind(heads)
        if not behind or heads.at is None:
            return
        count = 0
        async for some in Past(history, self._archive).between(behind, heads.at):
            for each in some:
                if each.sequence > self._reached.get(each.channel, each.sequence):
                    count += 1
                    self._deliver(each)
        for channel in behind:
            if channel in self._reached:
                self._reached[channel] = max(self._reached[channel], heads.at)
        if count:
            log.info("missed events were told later", count=count)


async def _again(work: Callable[[], Awaitable[None]], pause: float) -> None:
    """For ever; says once what is wrong."""
    trouble = ""
    while True:
        try:
            await work()
            trouble = ""
        except _TROUBLE as error:
            if trouble != (trouble := type(error).__name__):
                log.warning("live events wait", reason=repr(error)[:200])
        except Exception:
            log.exception("live events stumbled")
        await asyncio.sleep(pause)
