"""`python -m bench`: all figures in one run on one stack."""

import argparse
import signal
import sys
from typing import Any

from bench import catalog, command, identity, query, startup
from bench.report import Report, console
from bench.servers import ROOT, stack

RESULTS = ROOT / "bench/results/latest.json"
PARTS = ("query", "command", "identity", "catalog", "startup")


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _leave)
    report = Report()
    parts = [options.only] if options.only else list(PARTS)
    with stack() as measured:
        console.print(f"a stack of its own in {measured.home.path}", style="dim")
        measured.up()
        if "query" in parts:
            query.measure(measured, report, rounds=3 if options.quick else 7)
        if "command" in parts:
            command.measure(measured, report, rounds=2 if options.quick else 4)
        if "identity" in parts:
            identity.measure(measured, report, rounds=2 if options.quick else 5)
        if "catalog" in parts:
            catalog.measure(measured, report, rounds=2 if options.quick else 5)
        if parts != ["startup"]:
            startup.after_load(measured, report)
        measured.down()
        if "startup" in parts:
            startup.measure(measured, report, rounds=2 if options.quick else 5)
    if options.fresh or (options.fresh is None and "startup" in parts and not options.quick):
        startup.fresh(report, patient=bool(options.fresh))
    report.show()
    report.write(RESULTS)
    console.print(f"  written to {RESULTS.relative_to(ROOT)}", style="dim")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no fresh clone")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
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
