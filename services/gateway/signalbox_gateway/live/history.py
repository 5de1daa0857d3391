"""The recent events of each channel in Redis, and the one script that adds to them.

What is here is a copy of the end of the stream `EVENTS` and may be lost, or fall back to an older copy, at
any time: numbers are the stream's, so whoever reads can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from signalbox_gateway.live.events import Event

MAX_ENTRIES = 1_000
"""Of one channel."""
MAX_BYTES = 4 * 1024 * 1024
"""Of one channel's events."""
KEPT_SECONDS = 24 * 3600
"""A channel in which nothing happens is forgotten, and read from the stream again."""

# KEYS: the head, then per channel: its facts, its entries, what it has seen
# ARGV: read before, this number, identity, the event, limits (entries, bytes, seconds), channels
# Answers -1 where it was added or known, else where it is: whoever calls has to go back there.
_ADD = """
local stored = redis.call('HGET', KEYS[1], 'at')
local before, this = tonumber(ARGV[1]), tonumber(ARGV[2])
if not stored then
    redis.call('HSET', KEYS[1], 'at', ARGV[1], 'floor', ARGV[1])
    stored = before
else
    stored = tonumber(stored)
end
if stored >= this then return -1 end
if stored < before then return stored end
local channels = (#KEYS - 1) / 3
for n = 1, channels do
    local facts, entries, seen = KEYS[3 * n - 1], KEYS[3 * n], KEYS[3 * n + 1]
    if redis.call('ZSCORE', seen, ARGV[3]) == false then
        local prev = redis.call('HGET', facts, 'last') or redis.call('HGET', KEYS[1], 'floor')
        local entry = ARGV[2] .. ' ' .. prev .. ' ' .. ARGV[4]
        redis.call('ZADD', entries, this, entry)
        redis.call('ZADD', seen, this, ARGV[3])
        redis.call('HSET', facts, 'last', ARGV[2])
        local bytes = redis.call('HINCRBY', facts, 'bytes', #entry)
        local count = redis.call('ZCARD', entries)
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


@dataclass(frozen=True)
class Entry:
    """An event of one channel, and the number of the one before it there."""

    sequence: int
    previous: int
    type: str
    text: bytes

    @staticmethod
    def read(raw: bytes) -> "Entry":
        sequence, previous, kind, text = raw.split(b" ", 3)
        return Entry(int(sequence), int(previous), kind.decode(), text)


@dataclass(frozen=True)
class Recent:
    """What Redis has of one channel after some number."""

    entries: Sequence[Entry]
    floor: int | None
    """Nothing is missing after this number; None where nothing is known of the channel."""


@dataclass(frozen=True)
class Heads:
    """How far Redis is."""

    at: int | None
    """The number up to which the stream was copied; None where nothing was yet."""
    lasts: dict[str, int]
    """The last number of each channel that has one."""
    floors: dict[str, int]
    """The number up to which events may be gone from here, of each channel."""


class History:
    """Of one incarnation of the stream."""

    def __init__(self, redis: Redis, epoch: str) -> None:
        self._redis = redis
        self.epoch = epoch
        self._head = f"live:{epoch}:head"
        self._add = redis.register_script(_ADD)

    async def add(self, events: Sequence[tuple[int, int, Event | None]]) -> int | None:
        """Adds what was read: the number before, its number, and the event, if it is one for somebody.

        Answers where to go back to, where Redis is not as far as it was.
        """
        if not events:
            return None
        async with self._redis.pipeline(transaction=False) as pipeline:
            for before, sequence, event in events:
                channels = event.channels if event is not None else ()
                keys = [self._head, *(key for channel in channels for key in self._keys(channel))]
                arguments: list[Any] = [
                    before,
                    sequence,
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

    async def position(self) -> int | None:
        """How far the stream was copied; None where nothing was yet."""
        stored = await self._redis.hget(self._head, "at")
        return int(stored) if stored is not None else None

    async def begin(self, at: int) -> None:
        """From there on events are added, where nothing was yet."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(self._head, "at", at)
            pipeline.hsetnx(self._head, "floor", at)
            await pipeline.execute()

    async def recent(self, channels: Sequence[str], after: int) -> tuple[int | None, dict[str, Recent]]:
        """How far Redis is, and what there is of each channel after that number, at the same moment."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(self._head, ["at", "floor"])
            for channel in channels:
                facts, kept, _ = self._keys(channel)
                pipeline.hmget(facts, ["last", "floor"])
                pipeline.zrangebyscore(kept, f"({after}", "+inf")
            (at, floor), *answers = await pipeline.execute()
        found = {}
        for number, channel in enumerate(channels):
            last, own_floor = answers[2 * number]
            entries = [Entry.read(raw) for raw in answers[2 * number + 1]]
            known = max(int(floor or 0), int(own_floor or 0)) if last is not None else None
            found[channel] = Recent(entries, known)
        return (int(at) if at is not None else None), found

    async def heads(self, channels: Sequence[str]) -> Heads:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(self._head, ["at", "floor"])
            for channel in channels:
                pipeline.hmget(self._keys(channel)[0], ["last", "floor"])
            (at, floor), *facts = await pipeline.execute()
        known = dict(zip(channels, facts, strict=True))
        return Heads(
            int(at) if at is not None else None,
            {channel: int(last) for channel, (last, _) in known.items() if last is not None},
            {channel: max(int(floor or 0), int(own or 0)) for channel, (_, own) in known.items()},
        )

    def _keys(self, channel: str) -> tuple[str, str, str]:
        base = f"live:{self.epoch}:{channel}"
        return f"{base}:facts", f"{base}:entries", f"{base}:seen"
