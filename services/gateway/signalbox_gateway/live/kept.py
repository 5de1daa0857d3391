"""The latest events of the channels that are followed here, for whoever comes again soon.

Most do: after a lost connection, after five minutes, after a restart. They need not ask Redis, nor is
anything encoded for them once more.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from signalbox_gateway.live.publication import Told

MOST = 200
"""Events of one channel."""
MOST_BYTES = 16 * 1024 * 1024
"""Of all channels together; those that nobody has asked for the longest make room."""
_EACH = 512
"""Bytes that an event takes beside its text, and a channel beside its events."""


@dataclass(eq=False)
class _Latest:
    """Everything of one channel that comes after a number."""

    after: int
    events: deque[Told] = field(default_factory=deque)
    size: int = _EACH


class Kept:
    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._channels: OrderedDict[str, _Latest] = OrderedDict()
        self.size = 0

    def begin(self, channel: str, after: int) -> None:
        """From now on everything is added that comes after that number."""
        if channel not in self._channels:
            self._channels[channel] = _Latest(after)
            self.size += _EACH
            self._make_room()

    def add(self, told: Told) -> None:
        latest = self._channels.get(told.channel)
        if latest is not None:
            latest.events.append(told)
            self._grown(latest, _size(told))

    def add_past(self, channel: str, after: int, until: int, past: Iterable[Told]) -> None:
        """What was read again: everything between these numbers. No use where it ends before what is kept."""
        latest = self._channels.get(channel)
        if latest is None or not after < latest.after <= until:
            return
        older = [told for told in past if told.sequence <= latest.after]
        latest.after = after
        latest.events.extendleft(reversed(older))
        self._grown(latest, sum(map(_size, older)))

    def after(self, channel: str, number: int) -> list[Told] | None:
        """What came after that number; None where that is not known here."""
        latest = self._channels.get(channel)
        if latest is None or number < latest.after:
            return None
        self._channels.move_to_end(channel)
        found: list[Told] = []
        for told in reversed(latest.events):
            if told.sequence <= number:
                break
            found.append(told)
        found.reverse()
        return found

    def forget(self, channel: str) -> None:
        latest = self._channels.pop(channel, None)
        if latest is not None:
            self.size -= latest.size

    def clear(self) -> None:
        self._channels.clear()
        self.size = 0

    def _grown(self, latest: _Latest, size: int) -> None:
        latest.size += size
        self.size += size
        while len(latest.events) > MOST:
            oldest = latest.events.popleft()
            latest.after = oldest.sequence
            latest.size -= _size(oldest)
            self.size -= _size(oldest)
        self._make_room()

    def _make_room(self) -> None:
        while self.size > self._most_bytes:
            self.forget(next(iter(self._channels)))


def _size(told: Told) -> int:
    """With what it is encoded as: a chunk and its lines, and some frames."""
    return _EACH + 7 * len(told.text)
