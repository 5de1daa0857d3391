"""Figures, their targets, and how they are told."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console

console = Console(highlight=False)


@dataclass(frozen=True)
class Target:
    bound: Literal["<=", ">="]
    value: float

    def met(self, value: float) -> bool:
        return value <= self.value if self.bound == "<=" else value >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.bound == '<=' else '≥'} {self.value:g}"


def at_most(value: float) -> Target:
    return Target("<=", value)


def at_least(value: float) -> Target:
    return Target(">=", value)


@dataclass(frozen=True)
class Figure:
    """One value per round; the median is what counts."""

    group: str
    name: str
    unit: str
    rounds: Sequence[float]
    target: Target | None = None
    before: Sequence[float] = ()
    """The same of the commit before, each measured next to ours."""
    of_before: Target | None = None
    """What our value may be of the one before."""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.rounds, self.before, strict=False) if theirs]

    @property
    def met(self) -> bool | None:
        """None where there is nothing to be met."""
        met = [self.target.met(self.median)] if self.target is not None else []
        if self.of_before is not None and self.ratios:
            met.append(self.of_before.met(statistics.median(self.ratios)))
        return all(met) if met else None

    def as_json(self) -> dict[str, Any]:
        told = {"group": self.group, "name": self.name, "unit": self.unit} | _spread(self.rounds)
        if self.before:
            told |= {"before": _spread(self.before)}
        if self.ratios:
            told |= {"ofBefore": _spread(self.ratios)}
        return told | {
            "target": str(self.target) if self.target else None,
            "targetOfBefore": str(self.of_before) if self.of_before else None,
            "met": self.met,
        }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "min": round(min(values), 4),
        "median": round(statistics.median(values), 4),
        "max": round(max(values), 4),
        "rounds": [round(value, 4) for value in values],
    }


@dataclass(frozen=True)
class Line:
    """A figure whose values come one after the other."""

    group: str
    name: str
    unit: str
    target: Target | None = None
    of_before: Target | None = None


Note = Callable[[Line, float], None]


class Rounds:
    """Values by line, ours and those of the commit before."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], tuple[Line, list[float], list[float]]] = {}

    def ours(self, line: Line, value: float) -> None:
        self._of(line)[1].append(value)

    def before(self, line: Line, value: float) -> None:
        self._of(line)[2].append(value)

    def figures(self) -> list[Figure]:
        return [
            Figure(line.group, line.name, line.unit, ours, line.target, before, line.of_before)
            for line, ours, before in self._values.values()
            if ours
        ]

    def _of(self, line: Line) -> tuple[Line, list[float], list[float]]:
        return self._values.setdefault((line.group, line.name), (line, [], []))


@dataclass
class Report:
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noise: dict[str, float] = field(default_factory=dict)
    """How busy the machine was with other things just before each group, in percent."""

    def look_around(self, group: str) -> None:
        """Called while nothing of ours works: what is busy then is somebody else."""
        self.noise[group] = psutil.cpu_percent(interval=1.0)

    def show(self) -> None:
        """As a table in Markdown, on standard output."""
        beside = any(figure.before for figure in self.figures)
        headings = ["figure", "", "unit", "min", "median", "max"]
        headings += ["before", "of before: min", "median", "max"] if beside else []
        rows = [[*headings, "goal", ""], ["---"] * (len(headings) + 2)]
        group = ""
        for figure in self.figures:
            rows.append(_row(figure, figure.group if figure.group != group else "", beside=beside))
            group = figure.group
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
        for note in self.notes:
            sys.stdout.write(f"\n{note}\n")
        busy = ", ".join(f"{name} {share:.0f} %" for name, share in self.noise.items())
        sys.stdout.write(f"\nBusy with other things just before: {busy}\n")

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": machine(),
            "busyBefore": self.noise,
            "figures": [figure.as_json() for figure in self.figures],
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _row(figure: Figure, group: str, *, beside: bool) -> list[str]:
    cells = [group, figure.name, figure.unit, *_cells(figure.rounds)]
    if beside:
        cells += [_cells(figure.before)[1], *_cells(figure.ratios)]
    goals = [str(figure.target)] if figure.target else []
    goals += [f"{figure.of_before} of before"] if figure.of_before else []
    return [*cells, ", ".join(goals), {True: "✓", False: "missed", None: ""}[figure.met]]


def _cells(values: Sequence[float]) -> list[str]:
    if not values:
        return ["", "", ""]
    median = statistics.median(values)
    digits = 0 if median >= 100 else 1 if median >= 10 else 2
    return [f"{value:,.{digits}f}" for value in (min(values), median, max(values))]


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memoryGb": round(psutil.virtual_memory().total / 1e9, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "loadAverage": [round(value, 2) for value in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
