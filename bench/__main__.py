"""`python -m bench`: all figures in one run, on a stack of its own; with the commit before beside it."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import catalog, command, identity, idle, query, restart, startup, sustained
from bench.cost import Meter
from bench.report import Note, Report, Rounds, console
from bench.servers import ROOT, Stack, baseline, stack

RESULTS = ROOT / "bench/results/latest.json"
BY_ROUND = ("startup", "idle", "query", "command", "sustained", "restart")
"""Measured once in each life of a stack, of which there are several."""
BY_ITSELF = ("identity", "catalog")
"""Rounds of their own, and of this tree alone: they look into the stack."""
_METERED = frozenset({"idle", "query", "command", "sustained"})


@dataclass(frozen=True)
class Side:
    """One of the trees that are measured in turns."""

    name: str
    stack: Stack
    note: Note
    ours: bool


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _leave)
    report, rounds = Report(), Rounds()
    parts = options.only or [*BY_ROUND, *BY_ITSELF]
    try:
        with ExitStack() as running:
            own = running.enter_context(stack())
            sides = [Side("this tree", own, rounds.ours, ours=True)]
            if options.beside is not None:
                other = running.enter_context(stack(options.beside.resolve()))
                sides.append(Side("beside", other, rounds.before, ours=False))
            if set(parts) & set(BY_ROUND):
                _in_turns(sides, report, parts, rounds=options.rounds or (1 if options.quick else 3))
            if options.fresh or (options.fresh is None and "startup" in parts and not options.quick):
                for side in sides:
                    startup.fresh(side.stack.tree, side.note, report, patient=bool(options.fresh))
            report.figures += rounds.figures()
            _by_itself(own, report, parts, quick=options.quick)
    finally:
        report.figures = report.figures or rounds.figures()  # also where a part broke
        if report.figures:
            report.show()
            report.write(RESULTS)
            console.print(f"written to {RESULTS.relative_to(ROOT)}", style="dim")


def _in_turns(sides: Sequence[Side], report: Report, parts: Sequence[str], *, rounds: int) -> None:
    """Only one stack runs at a time; every second round begins with the other one."""
    for side in sides:
        console.print(f"{side.name}: first start, in {side.stack.home.path}", style="dim")
        side.stack.up()
        side.stack.down()
    for number in range(rounds):
        report.look_around(f"round {number + 1}")
        for side in sides[:: -1 if number % 2 else 1]:
            _life(side, parts, f"{side.name}, round {number + 1} of {rounds}")


def _life(side: Side, parts: Sequence[str], where: str) -> None:
    """From start to stop; all parts need a stack that was started, and so that is always measured."""
    measured = side.stack

    def begin(part: str) -> bool:
        if part in parts:
            console.print(f"{where}: {part}", style="dim")
        return part in parts

    console.print(f"{where}: startup", style="dim")
    startup.measure(measured, side.note)
    if set(parts) & _METERED:
        console.print(f"{where}: idle", style="dim")
        meter = idle.measure(measured)
        idle.note(meter, side.note)
        _metered(side, meter, begin)
        startup.memory(measured, side.note, "after the load")
    if begin("restart"):
        restart.measure(measured, side.note)
    measured.down()


def _metered(side: Side, meter: Meter, begin: Callable[[str], bool]) -> None:
    with ExitStack() as running:
        alone = running.enter_context(baseline(side.stack)) if side.ours else None
        if begin("query"):
            query.measure(side.stack, side.note, meter, alone)
        if begin("command"):
            command.measure(side.stack, side.note, meter, alone)
    if begin("sustained"):
        sustained.measure(side.stack, side.note, meter)


def _by_itself(own: Stack, report: Report, parts: Sequence[str], *, quick: bool) -> None:
    if not set(parts) & set(BY_ITSELF):
        return
    own.up()
    if "identity" in parts:
        identity.measure(own, report, rounds=2 if quick else 5)
    if "catalog" in parts:
        catalog.measure(own, report, rounds=2 if quick else 5)
    own.down()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="DIR",
        help="another checkout with its own .venv, measured in turns with this",
    )
    parser.add_argument("--only", choices=(*BY_ROUND, *BY_ITSELF), action="append", help="may be repeated")
    parser.add_argument("--rounds", type=int, help="lives of each stack (by default 3)")
    parser.add_argument("--quick", action="store_true", help="one life of each stack, no fresh clone")
    parser.add_argument(
        "--fresh",
        action=argparse.BooleanOptionalAction,
        help="a fresh clone too, however long it takes (by default: up to 60 s of it)",
    )
    return parser.parse_args()


def _leave(*_: Any) -> None:
    """As Ctrl-C does: through every `finally`, so that nothing is left running."""
    sys.exit(143)


if __name__ == "__main__":
    main()
