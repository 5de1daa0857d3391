"""Somebody who watches: what they get, in which order, and what is said where that cannot be kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told
from signalbox_gateway.live.recovery import number_of
from signalbox_gateway.live.resync import Resync

MAX_HELD = 5_000
"""Events that wait for one client that does not take its past; who holds up more gets them in pages."""


class Behind(Exception):
    """What comes after some place cannot be told as a stream any more: it goes on after `at`."""

    def __init__(self, at: Offset) -> None:
        super().__init__()
        self.at = at


@dataclass(eq=False)
class Watcher:
    """Somebody who watches some channels."""

    channels: frozenset[str]
    deliver: Callable[[Told], None]
    late: Callable[[Told], None]
    """Called where an event came too late to be told in its order."""
    epoch: str = ""
    position: int = 0
    """The number of the last event that was delivered, or passed over."""
    begins: int = 0
    """What the past that was read ends with: up to there, events may come once more."""
    goes_on: Offset | None = None
    """Where to begin after the past could not be told."""
    held: list[Told] | None = field(default_factory=list)
    """What has come in while the past was read; None once that is done."""
    _left_out: Offset | None = None
    """Up to there nothing was held."""

    def begin(self, epoch: str) -> None:
        self.epoch = epoch
        self.held = []
        self._left_out = None

    def take(self, told: Told) -> None:
        if self.held is not None:
            self.held.append(told)
            if len(self.held) > MAX_HELD:
                self._left_out = max(self.held, key=number_of).offset
                self.held.clear()
        elif told.sequence > self.position:
            self.position = told.sequence
            self.deliver(told)
        elif told.sequence > self.begins:
            self.late(told)

    def go_live(self) -> None:
        held, self.held = self.held or [], None
        left_out = self._left_out
        if left_out is not None and left_out.epoch != self.epoch:
            self._tell(Resync(left_out, None, "expired"))
        elif left_out is not None and left_out.sequence > self.position:
            self._tell(Resync(left_out, Offset(self.epoch, self.position), "slow"))
        self.begins = self.position
        for told in sorted(held, key=number_of):
            self.take(told)

    def end(self) -> None:
        """Nothing is told any more; whoever was told is not held either."""
        self.deliver = self.late = _nobody
        self.held = []

    def begin_anew(self, at: Offset) -> None:
        """The stream is another one."""
        if self.held is None:
            self._tell(Resync(at, None, "expired"))
        else:
            self.held.clear()
            self._left_out = at

    def _tell(self, resync: Resync) -> None:
        self.epoch = resync.offset.epoch
        self.position = self.begins = resync.sequence
        self.deliver(resync)


def _nobody(_told: Told) -> None:
    """Has left."""
