"""Failed logins: who has to wait, and how long; never for ever, and never because of somebody else alone.

Three counts are kept. One for the account from this address, one for the account from everywhere, one for
the address whatever the account. Only the first holds back an address from which the account's owner has
signed in before: what others do there, or elsewhere, does not keep the owner out. From a new address the
owner may have to wait with the attackers, half a minute at a time.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Network, ip_address

_IPV6_PREFIX = 64
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
    where = _place(address)
    counts = [Count(_key("pair", account, where), PAIR)]
    if not known_place:
        counts += [Count(_key("address", where), ADDRESS), Count(_key("account", account), ACCOUNT)]
    return counts


def _place(address: str | None) -> str:
    """What one person has of addresses: of IPv6, a whole network."""
    if address is None:
        return "nowhere"
    found = ip_address(address)
    return str(found if found.version == 4 else IPv6Network((found, _IPV6_PREFIX), strict=False))


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode()).digest()


def failures_now(failures: int, last_failed_at: datetime, now: datetime) -> int:
    """None are left after half an hour without one."""
    return 0 if now - last_failed_at > FORGOTTEN_AFTER else failures
