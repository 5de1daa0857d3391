"""The hub of one process: subscribes to the channels that its clients follow, and misses nothing.

Whatever Redis publishes is taken in its order, so events leave in the order of their offsets. Redis loses a
subscriber's messages only together with its connection. So a new connection begins with recovery, from the
history or from the stream, before anything that comes over it is delivered; and whatever else looks like a
gap is recovered the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common import background, telemetry
from signalbox_common.bus.stored import StreamReader, StreamState
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway.live.history import Entry, Heads, History, HistoryCache
from signalbox_gateway.live.publication import Publication, StreamPosition
from signalbox_gateway.live.pubsub import Confirmation, PubSub, PubSubMessage
from signalbox_gateway.live.recovery import Recovery, publication_of
from signalbox_gateway.live.single_flight import SingleFlight
from signalbox_gateway.live.subscriber import Subscriber, UnrecoverablePosition

log = telemetry.get_logger()

HEADS_EVERY = 0.4
"""Seconds between two comparisons of heads, which show what was missed without a trace."""
IN_FLIGHT = 0.1
"""Seconds that what Redis has published may take to arrive here."""
EPOCH_EVERY = 1.0
"""Seconds between two checks of the epoch of the stream."""
MAX_RECOVERY = 20_000
"""Events that one client is sent at once; who is further behind asks for them in pages."""
MAX_RECOVERY_BYTES = 8 * 1024 * 1024
MAX_RECOVERIES = 32
"""Clients whose past is recovered at once."""
CONFIRMED_WITHIN = 3.0
"""Seconds that Redis has to confirm a subscription."""
_PAUSE = 0.2
_TROUBLE = (RedisError, OSError, SignalboxError)


class Hub:
    def __init__(self, redis: Redis, stream: StreamReader) -> None:
        self._redis = redis
        self._stream = stream
        self._state = SingleFlight(stream.state)
        self._history: History | None = None
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._offsets: dict[str, int] = {}
        """Everything of a channel up to that offset was delivered here, or was before anybody subscribed."""
        self._cache = HistoryCache()
        self._pubsub: PubSub | None = None
        self._confirmations: dict[str, asyncio.Future[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._delivery = asyncio.Lock()
        """Whoever delivers holds it."""
        self._recoveries = asyncio.Semaphore(MAX_RECOVERIES)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(_forever(self._run_pubsub, _PAUSE), name="live events"),
            asyncio.create_task(_forever(self._check_heads, HEADS_EVERY), name="live heads"),
            asyncio.create_task(_forever(self._check_epoch, EPOCH_EVERY), name="live stream"),
        ]

    async def stop(self) -> None:
        await background.end(*self._tasks)

    # -- subscribing -------------------------------------------------------------------------------

    async def subscribe(
        self, subscriber: Subscriber, resume: StreamPosition | None
    ) -> tuple[StreamPosition, list[Publication]]:
        """Where the subscriber begins, and what was recovered; what comes now is buffered until `go_live`.

        Raises UnrecoverablePosition where that is too far behind: whoever subscribes again without a position
        begins where that says.
        """
        again = subscriber.fallback if resume is None else None
        try:
            return await self._subscribe(subscriber, resume or again)
        except BaseException as error:
            self._remove(subscriber)
            if isinstance(error, UnrecoverablePosition) and again is None:
                subscriber.fallback = error.at
                raise
            if isinstance(error, UnrecoverablePosition | RedisError | OSError):
                raise Unavailable("Live events are not available at the moment.") from error
            raise

    async def _subscribe(
        self, subscriber: Subscriber, resume: StreamPosition | None
    ) -> tuple[StreamPosition, list[Publication]]:
        state = await self._state.get()
        history = await self._history_of(state)
        if resume is not None and not (
            resume.epoch == state.epoch and state.first - 1 <= resume.offset <= state.last
        ):
            raise UnrecoverablePosition(StreamPosition(state.epoch, state.last))
        subscriber.start_buffering(state.epoch)
        for channel in subscriber.channels:
            self._subscribers.setdefault(channel, set()).add(subscriber)
        await self._await_confirmation(subscriber.channels)
        cached = self._from_cache(subscriber, history, resume or StreamPosition(state.epoch, state.last))
        if cached is not None:
            return cached
        async with self._recoveries:
            copied = (await asyncio.wait_for(history.heads([]), CONFIRMED_WITHIN)).at
        at = copied if copied is not None else (await self._stream.state()).last
        # Nothing waits from here on: what others have got is not delivered again, the rest is buffered.
        for channel in subscriber.channels:
            self._cache.begin(channel, self._offsets.setdefault(channel, at))
        until = max(at, *(self._offsets[channel] for channel in subscriber.channels))
        recovered: list[Publication] = []
        if resume is None:
            resume = StreamPosition(history.epoch, max(until, state.last))
        else:
            recovered = await self._recover(subscriber, history, resume, until)
        subscriber.offset = max(until, resume.offset)
        if history is not self._history:
            raise Unavailable("The stream of events was made anew.")
        return resume, recovered

    def _from_cache(
        self, subscriber: Subscriber, history: History, resume: StreamPosition
    ) -> tuple[StreamPosition, list[Publication]] | None:
        """The same where what others here were sent is all that there is to know; it is, of one channel."""
        channel, *more = subscriber.channels
        reached = self._offsets.get(channel)
        pubsub = self._pubsub
        if (
            more
            or reached is None
            or pubsub is None
            or not pubsub.has(channel)
            or history is not self._history
        ):
            return None
        recovered = self._cache.after(channel, resume.offset)
        if recovered is not None:
            subscriber.offset = max(reached, resume.offset)
            return resume, recovered
        return None

    async def _recover(
        self, subscriber: Subscriber, history: History, resume: StreamPosition, until: int
    ) -> list[Publication]:
        offsets = dict.fromkeys(sorted(subscriber.channels), resume.offset)
        recovered: list[Publication] = []
        size = 0
        async with self._recoveries:
            async for some in Recovery(history, self._stream).between(offsets, until):
                recovered += some
                size += sum(len(each.text) for each in some)
                if len(recovered) > MAX_RECOVERY or size > MAX_RECOVERY_BYTES:
                    raise UnrecoverablePosition(StreamPosition(history.epoch, until))
        for channel in subscriber.channels if history is self._history else ():
            its = (each for each in recovered if each.channel == channel)
            self._cache.add_past(channel, resume.offset, until, its)
        return recovered

    def go_live(self, subscriber: Subscriber) -> None:
        """Hands over what has come in meanwhile; nothing waits in between."""
        subscriber.go_live()

    async def unsubscribe(self, subscriber: Subscriber) -> None:
        self._remove(subscriber)
        subscriber.close()

    def _remove(self, subscriber: Subscriber) -> None:
        for channel in subscriber.channels:
            subscribers = self._subscribers.get(channel)
            if subscribers is None:
                continue
            subscribers.discard(subscriber)
            if not subscribers:
                del self._subscribers[channel]
                self._offsets.pop(channel, None)
                self._cache.forget(channel)
                confirmed = self._confirmations.pop(channel, None)
                if confirmed is not None:
                    confirmed.cancel()
        if self._pubsub is not None:
            self._pubsub.update(subscriber.channels)

    async def _await_confirmation(self, channels: Collection[str]) -> None:
        """Returns when Redis has confirmed the subscription to these channels.

        One that was confirmed before stays so: what a lost connection costs is recovered before all else.
        """
        waiting = []
        for channel in channels:
            confirmed = self._confirmations.get(channel)
            if confirmed is None:
                confirmed = self._confirmations[channel] = asyncio.get_running_loop().create_future()
            if self._pubsub is not None and self._pubsub.has(channel):  # left a moment ago
                self._confirm(Confirmation(channel))
            if not confirmed.done():
                waiting.append(confirmed)
        if waiting:
            if self._pubsub is not None:
                self._pubsub.update(channels)
            _, late = await asyncio.wait(waiting, timeout=CONFIRMED_WITHIN)
            if late:
                raise TimeoutError

    # -- epochs ------------------------------------------------------------------------------------

    async def _history_of(self, state: StreamState) -> History:
        if self._history is None:
            self._history = History(self._redis, state.epoch)
        elif self._history.epoch != state.epoch:
            await self._change_epoch()
        return self._history

    async def _check_epoch(self) -> None:
        if self._history is not None and self._subscribers:
            await self._history_of(await self._stream.state())

    async def _change_epoch(self) -> None:
        """The stream is another one: offsets of the old one mean nothing, and everybody gets a resync."""
        async with self._delivery:
            state = await self._stream.state()  # whoever has seen another epoch may have seen an older one
            if self._history is not None and self._history.epoch == state.epoch:
                return
            history = History(self._redis, state.epoch)
            copied = (await history.heads([])).at
            at = StreamPosition(state.epoch, state.last if copied is None else copied)
            log.warning("the stream of events is another one", epoch=state.epoch)
            self._history = history
            self._cache.clear()
            self._offsets = dict.fromkeys(self._subscribers, at.offset)
            for subscriber in {each for subscribers in self._subscribers.values() for each in subscribers}:
                try:
                    subscriber.change_epoch(at)
                except Exception as error:  # noqa: BLE001 - one that is gone costs nobody else
                    log.debug("a client did not take a publication", reason=repr(error)[:200])

    # -- pub/sub -----------------------------------------------------------------------------------

    async def _run_pubsub(self) -> None:
        """One connection, until it ends."""
        pubsub = await PubSub.open(self._redis, self._subscribers.__contains__)
        self._pubsub = pubsub
        try:
            await background.until_one_ends(self._follow(pubsub), pubsub.keep_up())
        finally:
            self._pubsub = None
            await pubsub.close()

    async def _follow(self, pubsub: PubSub) -> None:
        """Everything is subscribed to before what was missed is recovered."""
        await pubsub.subscribe(self._subscribers)
        early: list[PubSubMessage] = []
        while not pubsub.is_settled:
            answer = await pubsub.read()
            if isinstance(answer, PubSubMessage):
                early.append(answer)
            elif answer is not None:
                self._confirm(answer)
        async with self._delivery:
            await self._recover_missed()
            for each in early:
                await self._receive(each)
        while True:
            answer = await pubsub.read()
            if isinstance(answer, Confirmation):
                self._confirm(answer)
            elif answer is not None:
                async with self._delivery:
                    await self._receive(answer)

    def _confirm(self, confirmation: Confirmation) -> None:
        confirmed = self._confirmations.get(confirmation.channel)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    async def _receive(self, message: PubSubMessage) -> None:
        channel, history = message.channel, self._history
        if channel not in self._subscribers or history is None:
            return
        epoch, _, raw = message.data.partition(b" ")
        if epoch.decode() != history.epoch:
            return
        entry = Entry.parse(raw)
        reached = self._offsets.setdefault(channel, entry.previous)
        if entry.previous > reached:
            await self._recover_missed()
        elif entry.offset > reached:
            self._broadcast(publication_of(history, channel, entry))

    def _broadcast(self, publication: Publication) -> None:
        self._offsets[publication.channel] = publication.offset
        self._cache.add(publication)
        for subscriber in tuple(self._subscribers.get(publication.channel, ())):
            try:
                subscriber.receive(publication)
            except Exception as error:  # noqa: BLE001 - one that is gone costs nobody else
                log.debug("a client did not take a publication", reason=repr(error)[:200])

    async def _check_heads(self) -> None:
        """A lost event that was the last of its channel shows in nothing but the heads."""
        if self._history is None or not self._offsets:
            return
        heads = await self._history.heads(list(self._offsets))
        if self._behind(heads):
            await asyncio.sleep(IN_FLIGHT)
            if self._behind(heads):
                async with self._delivery:
                    await self._recover_missed()

    def _behind(self, heads: Heads) -> dict[str, int]:
        """The channels of which something was missed, and how far each was reached."""
        return {channel: reached for channel, reached in self._offsets.items() if heads.of(channel) > reached}

    async def _recover_missed(self) -> None:
        """Recovers whatever was missed in any channel, and delivers it in order."""
        history = self._history
        if history is None or not self._offsets:
            return
        heads = await history.heads(list(self._offsets))
        behind = self._behind(heads)
        if not behind or heads.at is None:
            return
        count = 0
        async for some in Recovery(history, self._stream).between(behind, heads.at):
            for each in some:
                if each.offset > self._offsets.get(each.channel, each.offset):
                    count += 1
                    self._broadcast(each)
        for channel in behind:
            if channel in self._offsets:
                self._offsets[channel] = max(self._offsets[channel], heads.at)
        if count:
            log.info("missed events were recovered", count=count)


async def _forever(work: Callable[[], Awaitable[None]], pause: float) -> None:
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
