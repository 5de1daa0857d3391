"""What a run looked like, for people."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.chaos.ledger import Kill, shown
from tests.chaos.plan import PROGRAMS
from tests.chaos.verdict import Outcome


def table(outcome: Outcome) -> str:
    return "\n\n".join(
        "\n".join(lines) for lines in (_totals(outcome), _storm(outcome), _calm(outcome)) if lines
    )


def _totals(outcome: Outcome) -> list[str]:
    plan, ledger, truth = outcome.plan, outcome.ledger, outcome.truth
    alone = sum(kill.alone for kill in ledger.kills)
    rows: list[tuple[str, object]] = [
        ("seed", plan.seed),
        ("duration", f"{outcome.seconds:.1f} s"),
        ("commands", f"{ledger.commands} ({plan.commands} at {plan.rate:g}/s)"),
        ("accepted", len(ledger.projects)),
        ("projects in the database", len(truth.projects)),
        ("events in the stream", truth.events.total()),
        ("duplicates in the stream", truth.duplicates),
        ("operations given", len(ledger.operations)),
        ("attempts / polls", f"{ledger.attempts} / {ledger.polls}"),
        ("answers", _counted(ledger.answers)),
        ("202s", ledger.answers[202]),
        ("5xx", sum(n for code, n in ledger.answers.items() if code >= 500)),
        ("connection errors", f"{ledger.lost.total()} ({_counted(ledger.lost)})"),
        ("dead letters", len(truth.letters)),
        ("latency p50 / p99 / max", " / ".join(f"{ledger.latency(q):.3f} s" for q in (0.5, 0.99, 1.0))),
        ("kills", f"{len(ledger.kills)} ({alone} in the calm)"),
    ]
    return [f"  {name:<26}{value}" for name, value in rows]


def _storm(outcome: Outcome) -> list[str]:
    """The longest times by program; they hold the recovery from whatever was killed meanwhile."""
    lines = [_row("storm: longest from kill to", "kills", "running", "next success", "caught up")]
    ends: tuple[Callable[[Kill], float | None], ...] = (
        lambda kill: kill.back,
        outcome.ledger.over,
        outcome.ledger.caught_up,
    )
    for program in PROGRAMS:
        kills = [kill for kill in outcome.ledger.kills if kill.program == program and not kill.alone]
        longest = (_longest([(kill.at, end(kill)) for kill in kills]) for end in ends)
        lines.append(_row(program, str(len(kills)), *longest))
    return lines


def _calm(outcome: Outcome) -> list[str]:
    alone = [kill for kill in outcome.ledger.kills if kill.alone]
    if not alone:
        return []
    lines = [_row("calm: killed alone", "running", "next success")]
    for kill in alone:
        ends = (kill.back, outcome.ledger.caught_up(kill))
        lines.append(_row(kill.program, *(shown(end, kill.at) for end in ends)))
    return lines


def _row(name: str, *cells: str) -> str:
    return f"  {name:<28}" + "".join(f"{cell:>14}" for cell in cells)


def _longest(spans: list[tuple[float, float | None]]) -> str:
    if not spans:
        return "-"
    begin, end = max(spans, key=lambda span: float("inf") if span[1] is None else span[1] - span[0])
    return shown(end, begin)


def _counted(counter: Counter[Any]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counter.items())) or "none"
