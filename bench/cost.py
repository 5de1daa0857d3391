"""CPU of requests: everything that the stack takes for them, less what it takes when nobody asks."""

import time
from dataclasses import dataclass

from bench.load import Load, Result, run
from bench.processes import Programs, Seconds, cpu
from bench.report import console

_QUIET_FOR, _QUIET_LIMIT = 2, 120.0
"""Seconds in a row that must be quiet, and how long that may take."""


@dataclass(frozen=True)
class Meter:
    """Counts what some programs take."""

    programs: Programs
    idle: Seconds
    """CPU a second, by program, while nobody asks."""

    @staticmethod
    def of(programs: Programs, *, seconds: float) -> "Meter":
        """Looks at the programs while nobody asks anything of them."""
        began, before = time.monotonic(), cpu(programs)
        time.sleep(seconds)
        return Meter(programs, _per_second(before, cpu(programs), time.monotonic() - began))

    def per_request(self, load: Load) -> tuple[Result, Seconds]:
        """Also what comes after the answers: audit lines, events, whatever they set off."""
        self.settle()
        began, before = time.monotonic(), cpu(self.programs)
        result = run(load)
        self.settle()
        took = time.monotonic() - began
        spent = _per_second(before, cpu(self.programs), took)
        per_request = took / result.sent
        return result, {name: (spent[name] - self.idle[name]) * per_request for name in spent}

    def settle(self) -> None:
        """Waits until the programs are as quiet as they were."""
        limit = 1.25 * sum(self.idle.values()) + 0.03
        ends, quiet = time.monotonic() + _QUIET_LIMIT, 0
        while quiet < _QUIET_FOR and time.monotonic() < ends:
            began, before = time.monotonic(), cpu(self.programs)
            time.sleep(1.0)
            rates = _per_second(before, cpu(self.programs), time.monotonic() - began)
            quiet = quiet + 1 if sum(rates.values()) <= limit else 0
        if quiet < _QUIET_FOR:
            console.print(f"still not quiet after {_QUIET_LIMIT:.0f} s: some CPU is counted elsewhere")


def _per_second(before: Seconds, after: Seconds, took: float) -> Seconds:
    return {name: (after[name] - before[name]) / took for name in after}
