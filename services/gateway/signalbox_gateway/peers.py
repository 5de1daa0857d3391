"""Peers: how many connections each address has open, and what all bodies hold that are coming in."""

from collections import Counter
from collections.abc import Sequence

from signalbox_gateway.addresses import Network, neighbours, parsed

PATIENCE = 10
"""Refusals that are told at once; whoever goes on is told later."""
HELD = 1.0
"""Seconds."""
_FORGOTTEN_AFTER = 60.0


class Peers:
    """Of this process. Proxies of ours may have any number: they speak for many."""

    def __init__(self, most: int, proxies: Sequence[Network]) -> None:
        self._most = most
        self._proxies = proxies
        self._open: Counter[str] = Counter()
        self._offences: Counter[str] = Counter()
        self._offences_since = 0.0

    def enter(self, peer: str | None) -> str | None:
        """What it is counted under, to be said when it leaves."""
        address = parsed(peer) if peer is not None else None
        if not self._most or address is None or any(address in network for network in self._proxies):
            return None
        who = neighbours(address)
        self._open[who] += 1
        return who

    def is_crowded(self, who: str | None) -> bool:
        return who is not None and self._open[who] > self._most

    def is_held(self, who: str | None, now: float) -> bool:
        """Notes that something of theirs was refused; whether they have had too much of that."""
        if who is None:
            return False
        if now - self._offences_since > _FORGOTTEN_AFTER:
            self._offences.clear()
            self._offences_since = now
        self._offences[who] += 1
        return self._offences[who] > PATIENCE

    def leave(self, who: str | None) -> None:
        if who is None:
            return
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]


class BodyRoom:
    """What all requests together may hold of their bodies while these come in."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, size: int) -> bool:
        if self._most and self._held + size > self._most:
            return False
        self._held += size
        return True

    def give_back(self, size: int) -> None:
        self._held -= size
