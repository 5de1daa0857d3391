"""A subscriber: what one client gets, in which order, and the resync where that cannot be kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

from signalbox_gateway.live.publication import Publication, Resync, StreamPosition
from signalbox_gateway.live.recovery import offset_of

MAX_BUFFERED = 5_000
"""Publications that wait for one client while its past is read; who holds up more gets them in pages."""


class UnrecoverablePosition(Exception):
    """What comes after some position cannot be recovered as a stream any more: it goes on after `at`."""

    def __init__(self, at: StreamPosition) -> None:
        super().__init__()
        self.at = at


@dataclass(eq=False)
class Subscriber:
    """Follows some channels for one client."""

    channels: frozenset[str]
    deliver: Callable[[Publication], None]
    late: Callable[[Publication], None]
    """Called where a publication came too late to be delivered in its order."""
    epoch: str = ""
    offset: int = 0
    """Of the last publication that was delivered, or passed over."""
    recovered_to: int = 0
    """Up to there recovery has delivered, so publications may come once more."""
    fallback: StreamPosition | None = None
    """Where to begin after a position could not be recovered."""
    buffer: list[Publication] | None = field(default_factory=list)
    """What has come in during recovery; None once that is done."""
    _overflow: StreamPosition | None = None
    """Up to there nothing was buffered."""

    def start_buffering(self, epoch: str) -> None:
        self.epoch = epoch
        self.buffer = []
        self._overflow = None

    def receive(self, publication: Publication) -> None:
        if self.buffer is not None:
            self.buffer.append(publication)
            if len(self.buffer) > MAX_BUFFERED:
                self._overflow = max(self.buffer, key=offset_of).position
                self.buffer.clear()
        elif publication.offset > self.offset:
            self.offset = publication.offset
            self.deliver(publication)
        elif publication.offset > self.recovered_to:
            self.late(publication)

    def go_live(self) -> None:
        """Hands over what was buffered; nothing waits in between."""
        buffered, self.buffer = self.buffer or [], None
        overflow = self._overflow
        if overflow is not None and overflow.epoch != self.epoch:
            self._resync(Resync(overflow, None, "expired"))
        elif overflow is not None and overflow.offset > self.offset:
            self._resync(Resync(overflow, StreamPosition(self.epoch, self.offset), "slow"))
        self.recovered_to = self.offset
        for publication in sorted(buffered, key=offset_of):
            self.receive(publication)

    def close(self) -> None:
        """Nothing is delivered any more; whoever it was delivered to is not held either."""
        self.deliver = self.late = _nobody
        self.buffer = []

    def change_epoch(self, at: StreamPosition) -> None:
        """The stream is another one."""
        if self.buffer is None:
            self._resync(Resync(at, None, "expired"))
        else:
            self.buffer.clear()
            self._overflow = at

    def _resync(self, resync: Resync) -> None:
        self.epoch = resync.position.epoch
        self.offset = self.recovered_to = resync.offset
        self.deliver(resync)


def _nobody(_publication: Publication) -> None:
    """Has left."""
