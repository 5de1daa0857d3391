"""The history of each channel: its latest events in Redis, and the one script that adds to them.

It is a copy of the end of the stream `EVENTS` and may be lost, or fall back to an older copy, at any time:
offsets are the stream's, so whoever reads can tell. The cache of each process spares Redis most reads.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from signalbox_gateway.live.publication import Event, Publication

MAX_ENTRIES = 1_000
"""Of one channel."""
MAX_BYTES = 4 * 1024 * 1024
"""Of one channel's events."""
KEPT_SECONDS = 24 * 3600
"""A channel in which nothing happens is forgotten, and read from the stream again."""
CACHE_ENTRIES = 200
"""Of one channel."""
CACHE_BYTES = 16 * 1024 * 1024
"""Of all channels together; those that nobody has asked for the longest make room."""
_OVERHEAD = 512
"""Bytes that a cached publication takes beside its text, and a channel beside its publications."""

# KEYS: the head, then per channel: its facts, its entries, the identities that it has seen
# ARGV: the offset before, this offset, identity, the event, limits (entries, bytes, seconds), channels
# Idempotent: answers -1 where it was added or known, else where it is, to where its caller has to rewind.
_ADD = """
local head = redis.call('HMGET', KEYS[1], 'at', 'floor')
local before, this = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = tonumber(head[1] or ARGV[1])
if not head[1] then
    redis.call('HSET', KEYS[1], 'at', ARGV[1], 'floor', ARGV[1])
    head[2] = ARGV[1]
end
if stored >= this then return -1 end
if stored < before then return stored end
local channels = (#KEYS - 1) / 3
for n = 1, channels do
    local facts, entries, seen = KEYS[3 * n - 1], KEYS[3 * n], KEYS[3 * n + 1]
    if redis.call('ZSCORE', seen, ARGV[3]) == false then
        local last, count = redis.call('HGET', facts, 'last'), redis.call('ZCARD', entries)
        if not last or count == 0 then
            -- New here, or forgotten: what was before is to be read from the stream.
            redis.call('DEL', facts, entries)
            redis.call('HSET', facts, 'floor', string.format('%.0f', stored))
            count = 0
        end
        local entry = ARGV[2] .. ' ' .. (last or head[2]) .. ' ' .. ARGV[4]
        redis.call('ZADD', entries, this, entry)
        redis.call('ZADD', seen, this, ARGV[3])
        redis.call('HSET', facts, 'last', ARGV[2])
        local bytes = redis.call('HINCRBY', facts, 'bytes', #entry)
        count = count + 1
        while count > 1 and (count > tonumber(ARGV[5]) or bytes > tonumber(ARGV[6])) do
            local old = redis.call('ZPOPMIN', entries)
            redis.call('HSET', facts, 'floor', string.format('%.0f', old[2]))
            bytes = redis.call('HINCRBY', facts, 'bytes', -#old[1])
            redis.call('ZREMRANGEBYSCORE', seen, '-inf', old[2])
            count = count - 1
        end
        for key = 3 * n - 1, 3 * n + 1 do redis.call('EXPIRE', KEYS[key], ARGV[7]) end
        redis.call('PUBLISH', ARGV[7 + n], ARGV[8 + channels] .. ' ' .. entry)
    end
end
redis.call('HSET', KEYS[1], 'at', ARGV[2])
return -1
"""

# KEYS: the head. ARGV: the end of the stream, the last offset that the stream does not have any more
# Answers where it is.
_BEGIN = """
local at = redis.call('HGET', KEYS[1], 'at')
if at and tonumber(at) >= tonumber(ARGV[2]) then return tonumber(at) end
local new = at and ARGV[2] or ARGV[1]
redis.call('HSET', KEYS[1], 'at', new, 'floor', new)
return tonumber(new)
"""

_BATCH = 500
"""Channels that are asked about in one transaction."""


@dataclass(frozen=True)
class Entry:
    """An event of one channel, and the offset of the one before it there."""

    offset: int
    previous: int
    type: str
    text: bytes

    @staticmethod
    def parse(raw: bytes) -> "Entry":
        offset, previous, kind, text = raw.split(b" ", 3)
        return Entry(int(offset), int(previous), kind.decode(), text)


@dataclass(frozen=True)
class HistoryPage:
    """The next events of one channel after some offset."""

    entries: Sequence[Entry]
    up_to: int | None
    """Nothing is missing up to this offset; None where the stream has to be asked."""


@dataclass(frozen=True)
class Heads:
    """How far Redis is."""

    at: int | None
    """The offset up to which the stream was copied; None where nothing was yet."""
    floor: int
    """Up to there nothing of any channel needs to be here: older events are in the stream."""
    lasts: dict[str, int]
    """The last offset of each channel that has one."""

    def of(self, channel: str) -> int:
        """Who is not that far in a channel may have missed something."""
        return max(self.floor, self.lasts.get(channel, 0))


class History:
    """Of one epoch of the stream."""

    def __init__(self, redis: Redis, epoch: str) -> None:
        self._redis = redis
        self.epoch = epoch
        self._head = f"live:{epoch}:head"
        self._add = redis.register_script(_ADD)
        self._begin = redis.register_script(_BEGIN)

    async def add(self, events: Sequence[tuple[int, int, Event | None]]) -> int | None:
        """Adds what was read: the offset before, its offset, and the event, if it is one for somebody.

        Answers where to rewind to, where Redis is not as far as it was.
        """
        if not events:
            return None
        async with self._redis.pipeline(transaction=False) as pipeline:
            for before, offset, event in events:
                channels = event.channels if event is not None else ()
                keys = [self._head, *(key for channel in channels for key in self._keys(channel))]
                arguments: list[Any] = [
                    before,
                    offset,
                    event.identity if event is not None else "",
                    f"{event.type} {event.text}" if event is not None else "",
                    MAX_ENTRIES,
                    MAX_BYTES,
                    KEPT_SECONDS,
                    *channels,
                    self.epoch,
                ]
                await self._add(keys=keys, args=arguments, client=pipeline)
            answers = await pipeline.execute()
        return next((int(answer) for answer in answers if int(answer) >= 0), None)

    async def begin(self, first: int, last: int) -> int:
        """Where Redis is; where it has nothing, the end of the stream: the past is in the stream itself.

        What the stream does not have any more is passed over.
        """
        return int(await self._begin(keys=[self._head], args=[last, first - 1]))

    async def recent(self, offsets: Mapping[str, int], until: int, limit: int) -> dict[str, HistoryPage]:
        """What comes next in each channel after its offset, not beyond `until`."""
        found: dict[str, HistoryPage] = {}
        for some in _parts(list(offsets)):
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.hmget(self._head, ["at", "floor"])
                for channel in some:
                    facts, kept, _ = self._keys(channel)
                    pipeline.hmget(facts, ["last", "floor"])
                    pipeline.zrangebyscore(kept, f"({offsets[channel]}", until, start=0, num=limit)
                (at, floor), *answers = await pipeline.execute()
            for number, channel in enumerate(some):
                last, own = answers[2 * number]
                entries = [Entry.parse(raw) for raw in answers[2 * number + 1]]
                known = last is not None and max(int(floor or 0), int(own or 0)) <= offsets[channel]
                end = min(int(at or 0), until)
                up_to = _up_to(entries, offsets[channel], int(last or 0), end, limit) if known else None
                found[channel] = HistoryPage(entries, up_to)
        return found

    async def heads(self, channels: Sequence[str]) -> Heads:
        reached: int | None = None
        lowest = 0
        lasts: dict[str, int] = {}
        for some in _parts(channels) or [[]]:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.hmget(self._head, ["at", "floor"])
                for channel in some:
                    pipeline.hget(self._keys(channel)[0], "last")
                (at, floor), *found = await pipeline.execute()
            if at is None:
                return Heads(None, 0, {})
            reached = int(at) if reached is None else min(reached, int(at))
            lowest = max(lowest, int(floor or 0))
            lasts |= {c: int(last) for c, last in zip(some, found, strict=True) if last is not None}
        return Heads(reached, lowest, lasts)

    def _keys(self, channel: str) -> tuple[str, str, str]:
        base = f"live:{self.epoch}:{channel}"
        return f"{base}:facts", f"{base}:entries", f"{base}:seen"


@dataclass(eq=False)
class _CachedChannel:
    """Everything of one channel that comes after an offset."""

    after: int
    publications: deque[Publication] = field(default_factory=deque)
    size: int = _OVERHEAD


class HistoryCache:
    """The latest publications of the channels that are followed here, for whoever comes again soon.

    Most do: after a lost connection, after five minutes, after a restart. They need not ask Redis, nor is
    anything encoded for them once more.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._channels: OrderedDict[str, _CachedChannel] = OrderedDict()
        self.size = 0

    def begin(self, channel: str, after: int) -> None:
        """From now on everything is added that comes after that offset."""
        if channel not in self._channels:
            self._channels[channel] = _CachedChannel(after)
            self.size += _OVERHEAD
            self._evict()

    def add(self, publication: Publication) -> None:
        cached = self._channels.get(publication.channel)
        if cached is not None:
            cached.publications.append(publication)
            self._grown(cached, _size(publication))

    def add_past(self, channel: str, after: int, until: int, past: Iterable[Publication]) -> None:
        """What was recovered, all between these offsets; of no use where it ends before what is cached."""
        cached = self._channels.get(channel)
        if cached is None or not after < cached.after <= until:
            return
        older = [publication for publication in past if publication.offset <= cached.after]
        cached.after = after
        cached.publications.extendleft(reversed(older))
        self._grown(cached, sum(map(_size, older)))

    def after(self, channel: str, offset: int) -> list[Publication] | None:
        """What came after that offset; None where that is not known here."""
        cached = self._channels.get(channel)
        if cached is None or offset < cached.after:
            return None
        self._channels.move_to_end(channel)
        found: list[Publication] = []
        for publication in reversed(cached.publications):
            if publication.offset <= offset:
                break
            found.append(publication)
        found.reverse()
        return found

    def forget(self, channel: str) -> None:
        cached = self._channels.pop(channel, None)
        if cached is not None:
            self.size -= cached.size

    def clear(self) -> None:
        self._channels.clear()
        self.size = 0

    def _grown(self, cached: _CachedChannel, size: int) -> None:
        cached.size += size
        self.size += size
        while len(cached.publications) > CACHE_ENTRIES:
            oldest = cached.publications.popleft()
            cached.after = oldest.offset
            cached.size -= _size(oldest)
            self.size -= _size(oldest)
        self._evict()

    def _evict(self) -> None:
        while self.size > self._max_bytes:
            self.forget(next(iter(self._channels)))


def _size(publication: Publication) -> int:
    """With what it is encoded as: a chunk and its lines, and some frames."""
    return _OVERHEAD + 7 * len(publication.text)


def _parts(channels: Sequence[str]) -> list[Sequence[str]]:
    return [channels[begin : begin + _BATCH] for begin in range(0, len(channels), _BATCH)]


def _up_to(entries: Sequence[Entry], after: int, last: int, end: int, limit: int) -> int | None:
    """How far these entries go, if they are all that there should be."""
    if len(entries) == limit:
        return entries[-1].offset
    if after >= end or (after < last <= end and (not entries or entries[-1].offset < last)):
        return None
    return end
