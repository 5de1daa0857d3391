"""What a stack takes that nobody asks anything of."""

from bench.cost import Meter
from bench.report import Line, Note, at_most
from bench.servers import Stack

GROUP = "idle stack"
SECONDS = 30.0
_TOTAL = Line(GROUP, "all processes", "% of a core", at_most(3))


def measure(stack: Stack) -> Meter:
    return Meter.of(stack.programs(), seconds=SECONDS)


def note(meter: Meter, write: Note) -> None:
    write(_TOTAL, sum(meter.idle.values()) * 100)
    for program, seconds in meter.idle.items():
        write(Line(GROUP, program, "% of a core"), seconds * 100)
