"""Recovery: what some channels have missed, read from the history where it is there, else from the stream."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from signalbox_common.bus.stored import StreamReader
from signalbox_gateway.live.history import Entry, History
from signalbox_gateway.live.publication import Publication, StreamPosition, event_of

_BATCH = 2_000
"""Events that are read before some are handed out, of all channels together."""
_LEAST, _MOST = 5, 500
"""Of one channel."""
_STREAM_READERS = 16


@dataclass(eq=False)
class _ChannelReader:
    """How far one channel was read, and what of that was not handed out yet."""

    channel: str
    offset: int
    found: deque[Publication] = field(default_factory=deque)

    def take(self, until: int) -> Iterator[Publication]:
        while self.found and self.found[0].offset <= until:
            yield self.found.popleft()


class Recovery:
    """Of one epoch of the stream."""

    def __init__(self, history: History, stream: StreamReader) -> None:
        self._history = history
        self._stream = stream

    async def between(self, offsets: Mapping[str, int], until: int) -> AsyncIterator[list[Publication]]:
        """Everything after the offset of each channel up to that one, in order, a part at a time."""
        open_ = [_ChannelReader(channel, after) for channel, after in offsets.items() if after < until]
        while open_:
            await self._read([each for each in open_ if not each.found and each.offset < until], until)
            safe = min(each.offset for each in open_)
            yield list(heapq.merge(*(each.take(safe) for each in open_), key=offset_of))
            open_ = [each for each in open_ if each.found or each.offset < until]

    async def _read(self, readers: Sequence[_ChannelReader], until: int) -> None:
        if not readers:
            return
        limit = max(_LEAST, min(_MOST, _BATCH // len(readers)))
        recent = await self._history.recent({each.channel: each.offset for each in readers}, until, limit)
        elsewhere = []
        for reader in readers:
            page = recent[reader.channel]
            if page.up_to is None:
                elsewhere.append(reader)
                continue
            reader.found.extend(
                publication_of(self._history, reader.channel, entry) for entry in page.entries
            )
            reader.offset = page.up_to
        for begin in range(0, len(elsewhere), _STREAM_READERS):
            some = elsewhere[begin : begin + _STREAM_READERS]
            await asyncio.gather(*(self._read_stream(reader, until, limit) for reader in some))

    async def _read_stream(self, reader: _ChannelReader, until: int, limit: int) -> None:
        project = reader.channel.split(":")[1]
        batch = await self._stream.after(f"evt.{project}.>", reader.offset, limit)
        for message in batch:
            if message.sequence > until:
                break
            event = event_of(message.subject, message.headers, message.body, message.sequence)
            if event is not None and reader.channel in event.channels:
                position = StreamPosition(self._history.epoch, message.sequence)
                reader.found.append(Publication(position, reader.channel, event.type, event.text.encode()))
        reader.offset = min(batch[-1].sequence, until) if batch else until


def publication_of(history: History, channel: str, entry: Entry) -> Publication:
    return Publication(StreamPosition(history.epoch, entry.offset), channel, entry.type, entry.text)


def offset_of(publication: Publication) -> int:
    return publication.offset
