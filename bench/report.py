"""Figures, their targets, and how they are told."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table

console = Console(highlight=False)
console.width = max(console.width, 104)


@dataclass(frozen=True)
class Target:
    bound: Literal["<=", ">="]
    value: float

    def met(self, value: float) -> bool:
        return value <= self.value if self.bound == "<=" else value >= self.value


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

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        return self.target.met(self.median) if self.target is not None else None

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "min": round(min(self.rounds), 4),
            "median": round(self.median, 4),
            "max": round(max(self.rounds), 4),
            "target": f"{self.target.bound} {self.target.value:g}" if self.target else None,
            "met": self.met,
            "rounds": [round(value, 4) for value in self.rounds],
        }


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
        table = Table("", "figure", "unit", box=None, header_style="dim")
        for heading in ("min", "median", "max", "target"):
            table.add_column(heading, justify="right")
        table.add_column("")
        group = ""
        for figure in self.figures:
            if group and figure.group != group:
                table.add_section()
            table.add_row(*_row(figure, figure.group if figure.group != group else ""))
            group = figure.group
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", style="dim")
        busy = ", ".join(f"{name} {share:.0f} %" for name, share in self.noise.items())
        console.print(f"  busy with other things just before: {busy}", style="dim")

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": machine(),
            "busyBefore": self.noise,
            "figures": [figure.as_json() for figure in self.figures],
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _row(figure: Figure, group: str) -> list[str]:
    digits = 0 if figure.median >= 100 else 2
    values = [f"{value:.{digits}f}" for value in (min(figure.rounds), figure.median, max(figure.rounds))]
    if figure.target is None:
        return [group, figure.name, figure.unit, *values, "", ""]
    bound = "≤" if figure.target.bound == "<=" else "≥"
    mark = "[green]✓[/]" if figure.met else "[yellow]missed[/]"
    return [group, figure.name, figure.unit, *values, f"{bound} {figure.target.value:g}", mark]


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
