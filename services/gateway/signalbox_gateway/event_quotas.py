"""How many events from outside, and how many bytes of them, may come in within a day.

All events of all projects lie in one stream of a bounded size: without a bound for each, one account would
push out everybody's history. What was used comes back evenly within a day. It is counted in Redis for all
processes; here, while that is away.
"""

import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from signalbox_common.errors import QuotaExceeded
from signalbox_gateway.shared_script import RedisAway, SharedScript

DAY = 86_400.0
KNOWN = 20_000
"""Keys that are remembered here."""
LETTER = 8 * 1024
"""Bytes that a dead letter may have, taken all together."""

# All of them have enough, or none gives anything. Answers 0, or which one has too little, of what, and how
# much is left of that.
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local per, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local most = {tonumber(ARGV[3]), tonumber(ARGV[4])}
local wanted = {1, size}
local left = {}
for number, key in ipairs(KEYS) do
    local known = redis.call('HMGET', key, 'events', 'bytes', 'at')
    left[number] = {most[1], most[2]}
    for what = 1, 2 do
        if known[3] then
            local back = math.max(0, now - known[3]) * most[what] / per
            left[number][what] = math.min(most[what], known[what] + back)
        end
        if most[what] > 0 and left[number][what] < wanted[what] then
            return {number, what, tostring(left[number][what])}
        end
    end
end
for number, key in ipairs(KEYS) do
    redis.call('HSET', key, 'events', left[number][1] - 1, 'bytes', left[number][2] - size, 'at', now)
    redis.call('EXPIRE', key, math.ceil(per))
end
return {0, 0, ''}
"""
_NAMES = ("eventsPerDay", "eventBytesPerDay")


@dataclass
class _Left:
    """Of one key, as this process alone counts it."""

    amounts: tuple[float, float]
    at: float


class EventQuotas:
    def __init__(self, redis: Redis, *, events: int, size: int, kind: str = "events") -> None:
        """0 is no bound."""
        self._script = SharedScript(redis, _TAKE, of=kind)
        self._most = (events, size)
        self._kind = kind
        self._own: OrderedDict[str, _Left] = OrderedDict()

    @classmethod
    def of_letters(cls, redis: Redis, letters: int) -> "EventQuotas":
        """Of what comes in and is no event."""
        return cls(redis, events=letters, size=letters * LETTER, kind="letters")

    async def take(self, project: uuid.UUID, size: int, *, user: uuid.UUID | None = None) -> None:
        """Raises QuotaExceeded where the project, or whoever publishes, has no room for one of that size.

        A person's projects count together: whoever makes more of them has no more.
        """
        if not any(self._most):
            return
        keys = [f"project:{project}", *([f"user:{user}"] if user is not None else [])]
        which, what, left = await self._taken(keys, size)
        if which:
            most = self._most[what - 1]
            refusal = QuotaExceeded(
                _NAMES[what - 1],
                limit=most,
                used=math.ceil(most - left),
                whose="The project has" if which == 1 else "You have",
            )
            missing = (1, size)[what - 1] - left
            refusal.retry_after = math.ceil(min(DAY, max(1.0, missing * DAY / most)))
            raise refusal

    async def _taken(self, keys: Sequence[str], size: int) -> tuple[int, int, float]:
        names = (f"quota:{self._kind}:{key}" for key in keys)
        try:
            which, what, left = await self._script.run(*names, arguments=(DAY, size, *self._most))
        except RedisAway:
            return self._alone(keys, size)
        return int(which), int(what), float(left or 0)

    def _alone(self, keys: Sequence[str], size: int) -> tuple[int, int, float]:
        now, wanted, found = time.monotonic(), (1, size), []
        for number, key in enumerate(keys, 1):
            known = self._own.get(key) or _Left((math.inf, math.inf), now)
            events, held = (
                min(most, amount + (now - known.at) * most / DAY)
                for most, amount in zip(self._most, known.amounts, strict=True)
            )
            for what, left in enumerate((events, held), 1):
                if self._most[what - 1] and left < wanted[what - 1]:
                    return number, what, left
            found.append((events - 1, held - size))
        for key, amounts in zip(keys, found, strict=True):
            self._own[key] = _Left(amounts, now)
            self._own.move_to_end(key)
        while len(self._own) > KNOWN:
            self._own.popitem(last=False)
        return 0, 0, 0.0
