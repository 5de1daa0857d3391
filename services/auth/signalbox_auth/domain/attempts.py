"""Failed logins: who has to wait, and how long; never for ever, and never because of somebody else alone.

Three counts are kept. One for the account from this address, one for the account from everywhere, one for
the address whatever the account. The account's count does not hold back an address from which its owner
has signed in before: an attacker elsewhere can slow down other attackers, but not the owner.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

FORGOTTEN_AFTER = timedelta(minutes=30)


@dataclass(frozen=True)
class Limit:
    """So many failures are free; each further one doubles the wait, up to the longest."""

    free: int
    longest: timedelta

    def wait_after(self, failures: int) -> timedelta:
        over = failures - self.free
        if over < 0:
            return timedelta(0)
        return min(timedelta(seconds=2 ** min(over, 16)), self.longest)


PAIR = Limit(free=5, longest=timedelta(minutes=5))
ACCOUNT = Limit(free=20, longest=timedelta(seconds=30))
ADDRESS = Limit(free=50, longest=timedelta(minutes=5))


@dataclass(frozen=True)
class Count:
    """One of the counts that an attempt belongs to."""

    key: bytes
    limit: Limit


def counts_of(account: str, address: str | None, *, known_place: bool) -> list[Count]:
    """Those that hold this attempt back, and grow when it fails."""
    where = address or "nowhere"
    counts = [Count(_key("pair", account, where), PAIR), Count(_key("address", where), ADDRESS)]
    if not known_place:
        counts.append(Count(_key("account", account), ACCOUNT))
    return counts


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode()).digest()


def failures_now(failures: int, last_failed_at: datetime, now: datetime) -> int:
    """None are left after half an hour without one."""
    return 0 if now - last_failed_at > FORGOTTEN_AFTER else failures
