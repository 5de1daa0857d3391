"""What has happened in some channels, read again: from Redis where it is there, else from the stream."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from signalbox_gateway.live.events import event_of
from signalbox_gateway.live.history import Entry, History
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told
from signalbox_gateway.live.stream import Archive

_AT_ONCE = 2_000
"""Events that are read before some are told, of all channels together."""
_LEAST, _MOST = 5, 500
"""Of one channel."""
_STREAM_READERS = 16


@dataclass(eq=False)
class _Place:
    """How far one channel was read, and what of that was not told yet."""

    channel: str
    at: int
    found: deque[Told] = field(default_factory=deque)

    def taken(self, until: int) -> Iterator[Told]:
        while self.found and self.found[0].sequence <= until:
            yield self.found.popleft()


class Past:
    """Of one incarnation of the stream."""

    def __init__(self, history: History, archive: Archive) -> None:
        self._history = history
        self._archive = archive

    async def between(self, places: Mapping[str, int], until: int) -> AsyncIterator[list[Told]]:
        """Everything after the place of each channel up to that number, in order, a part at a time."""
        open_ = [_Place(channel, after) for channel, after in places.items() if after < until]
        while open_:
            await self._read([place for place in open_ if not place.found and place.at < until], until)
            safe = min(place.at for place in open_)
            yield list(heapq.merge(*(place.taken(safe) for place in open_), key=number_of))
            open_ = [place for place in open_ if place.found or place.at < until]

    async def _read(self, places: Sequence[_Place], until: int) -> None:
        if not places:
            return
        limit = max(_LEAST, min(_MOST, _AT_ONCE // len(places)))
        recent = await self._history.recent({place.channel: place.at for place in places}, until, limit)
        elsewhere = []
        for place in places:
            found = recent[place.channel]
            if found.up_to is None:
                elsewhere.append(place)
                continue
            place.found.extend(told(self._history, place.channel, entry) for entry in found.entries)
            place.at = found.up_to
        for begin in range(0, len(elsewhere), _STREAM_READERS):
            some = elsewhere[begin : begin + _STREAM_READERS]
            await asyncio.gather(*(self._read_stream(place, until, limit) for place in some))

    async def _read_stream(self, place: _Place, until: int, limit: int) -> None:
        project = place.channel.split(":")[1]
        batch = await self._archive.after(f"evt.{project}.>", place.at, limit)
        for stored in batch:
            if stored.sequence > until:
                break
            event = event_of(stored.subject, stored.headers, stored.body, stored.sequence)
            if event is not None and place.channel in event.channels:
                offset = Offset(self._history.epoch, stored.sequence)
                place.found.append(Told(offset, place.channel, event.type, event.text.encode()))
        place.at = min(batch[-1].sequence, until) if batch else until


def told(history: History, channel: str, entry: Entry) -> Told:
    return Told(Offset(history.epoch, entry.sequence), channel, entry.type, entry.text)


def number_of(each: Told) -> int:
    return each.sequence
