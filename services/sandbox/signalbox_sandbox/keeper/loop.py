"""Waits for descriptors and for times, in one thread.

`asyncio` would do it as well, and make every keeper and every resident one and a half megabytes larger.
"""

import heapq
import selectors
import sys
import time
from collections.abc import Callable
from itertools import count

Callback = Callable[[], None]
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_LONGEST = 3600.0


class Timer:
    """Something that is done later, unless it is cancelled before."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Nothing that it calls may wait for anything."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[int, dict[int, Callback]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            for key, events in self._selector.select(self._patience()):
                for event in (_READ, _WRITE):
                    # What was called before may have ended this one's interest, or its descriptor.
                    callback = self._callbacks.get(key.fd, {}).get(event) if events & event else None
                    if callback is not None:
                        _guarded(callback)
            self._ring()

    def on_readable(self, descriptor: int, callback: Callback | None) -> None:
        """Or not any more, with None."""
        self._set(descriptor, _READ, callback)

    def on_writable(self, descriptor: int, callback: Callback | None) -> None:
        self._set(descriptor, _WRITE, callback)

    def forget(self, descriptor: int) -> None:
        """Before it is closed."""
        if self._callbacks.pop(descriptor, None):
            self._selector.unregister(descriptor)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """By the monotonic clock: one that jumps changes nothing."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def _set(self, descriptor: int, event: int, callback: Callback | None) -> None:
        wanted = self._callbacks.setdefault(descriptor, {})
        before = sum(wanted)
        if callback is not None:
            wanted[event] = callback
        else:
            wanted.pop(event, None)
        now = sum(wanted)
        if not now:
            del self._callbacks[descriptor]
        if before and not now:
            self._selector.unregister(descriptor)
        elif now and not before:
            self._selector.register(descriptor, now)
        elif now != before:
            self._selector.modify(descriptor, now)

    def _patience(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return min(_LONGEST, max(0.0, self._timers[0][0] - time.monotonic())) if self._timers else _LONGEST

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                _guarded(timer.callback)


def _guarded(callback: Callback) -> None:
    """What fails here must not end all that is kept."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - whatever it was, its sandbox goes on
        print(f"in a keeper: {error!r}", file=sys.stderr, flush=True)
