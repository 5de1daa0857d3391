"""Allowances: how much is left to somebody, counted in Redis for all gateways; here, while it is away.

A process takes a few at a time from the count that all share, so that most requests wait for nobody.
"""

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from signalbox_gateway.shared_script import RedisAway, SharedScript

PER = 60.0
"""Seconds that a limit counts for; what was used comes back evenly within them."""
KNOWN = 20_000
"""Keys that are remembered here; those that were not seen for longest make room."""
_SHARE = 50
"""The part of a limit that is taken at a time."""
_HELD_FOR = 10.0

# Its clock is the one of Redis. What is taken and not used is lost, which makes a limit a little lower.
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local limit, per, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = limit
if known[1] then left = math.min(limit, known[1] + math.max(0, now - known[2]) * limit / per) end
local given = math.min(wanted, math.floor(left))
redis.call('HSET', KEYS[1], 'left', left - given, 'at', now)
redis.call('EXPIRE', KEYS[1], math.ceil(per))
return {given, tostring(left - given)}
"""


@dataclass(frozen=True)
class Allowance:
    """What somebody is told about a request."""

    granted: bool
    limit: int
    left: int = 0
    retry_after: int = 0
    """Seconds until there is one more."""
    refusals: int = 0
    """How often that was said in a row."""

    @property
    def full_after(self) -> int:
        """Seconds until all is there again."""
        return math.ceil((self.limit - self.left) * PER / self.limit)


@dataclass
class _Account:
    """Of one key, in this process."""

    held: int = 0
    """Taken from the count that all share, and not used yet."""
    held_until: float = 0.0
    left: float = 0.0
    """Of that count, by then."""
    none_until: float = 0.0
    """It is known that there is none before."""
    refusals: int = 0
    own_left: float = math.inf
    own_at: float = 0.0
    """The count of this process alone, for when nothing can be shared."""
    taking: "asyncio.Task[None] | None" = None


class Allowances:
    def __init__(self, redis: Redis) -> None:
        self._script = SharedScript(redis, _TAKE, of="requests")
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    async def take(self, key: str, limit: int) -> Allowance:
        """One of so many a minute."""
        account = self._account(key)
        found = await self._take(key, account, limit)
        account.refusals = 0 if found.granted else account.refusals + 1
        return replace(found, refusals=account.refusals) if account.refusals else found

    async def _take(self, key: str, account: _Account, limit: int) -> Allowance:
        while True:
            now = time.monotonic()
            if self._script.is_away:
                return self._own(account, limit, now)
            if account.held and now < account.held_until:
                account.held -= 1
                return Allowance(granted=True, limit=limit, left=int(account.left) + account.held)
            if now < account.none_until:
                return Allowance(granted=False, limit=limit, retry_after=math.ceil(account.none_until - now))
            if account.taking is None:
                account.taking = asyncio.create_task(self._refill(key, account, limit))
            await asyncio.shield(account.taking)

    def _account(self, key: str) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account()
            while len(self._accounts) > KNOWN:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(key)
        return account

    async def _refill(self, key: str, account: _Account, limit: int) -> None:
        try:
            arguments = (limit, PER, max(1, limit // _SHARE))
            answer = await self._script.run(f"rate:{key}", arguments=arguments)
        except RedisAway:
            pass  # whoever waits for it counts alone
        else:
            given, left = int(answer[0]), float(answer[1])
            now = time.monotonic()
            account.held, account.left, account.held_until = given, left, now + _HELD_FOR
            if not given:
                account.none_until = now + max(0.0, 1 - left) * PER / limit
        finally:
            account.taking = None

    @staticmethod
    def _own(account: _Account, limit: int, now: float) -> Allowance:
        account.own_left = min(limit, account.own_left + (now - account.own_at) * limit / PER)
        account.own_at = now
        if account.own_left < 1:
            after = math.ceil((1 - account.own_left) * PER / limit)
            return Allowance(granted=False, limit=limit, retry_after=after)
        account.own_left -= 1
        return Allowance(granted=True, limit=limit, left=int(account.own_left))
