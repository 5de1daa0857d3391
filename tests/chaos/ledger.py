"""What was sent, what was seen, and who was killed."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """One project to be made, under one key, by one user."""

    key: str
    user: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {**self.user, "Idempotency-Key": self.key}

    @property
    def body(self) -> dict[str, str]:
        return {"name": f"Chaos {self.key}"}


@dataclass
class Kill:
    program: str
    pid: int
    at: float
    alone: bool = False
    """In the calm: nothing else was down."""
    back: float | None = None
    """When the supervisor called the program running again."""


@dataclass(frozen=True)
class Success:
    """A command's final answer, and when the command was sent first: a repeat proves less than a new one."""

    sent: float
    done: float


@dataclass
class Ledger:
    """What clients and killer saw, and every promise that they saw broken."""

    commands: int = 0
    attempts: int = 0
    polls: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by the reason."""
    projects: dict[str, str] = field(default_factory=dict)
    """The project that each key was answered with."""
    operations: dict[str, Command] = field(default_factory=dict)
    """Every operation id that anybody was given, and the command it stands for."""
    successes: list[Success] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    states: list[tuple[float, str, str, int | None]] = field(default_factory=list)
    """When the supervisor said what of which program, and its pid."""

    def dump(self, file: Path) -> None:
        """The course of the run, for whoever looks into a failure; seconds since the first attempt."""
        zero = min((success.sent for success in self.successes), default=0.0)
        course = [
            *((kill.at, f"SIGKILL {kill.program} {kill.pid}{' alone' * kill.alone}") for kill in self.kills),
            *((at, f"{name} {state} {pid}") for at, name, state, pid in self.states),
            *((s.done, f"success of what was sent at {s.sent - zero:.3f}") for s in self.successes),
        ]
        file.write_text("".join(f"{at - zero:9.3f}  {what}\n" for at, what in sorted(course)), "utf-8")

    def over(self, kill: Kill) -> float | None:
        """When first a command succeeded after the killed program ran again."""
        if kill.back is None:
            return None
        return min((s.done for s in self.successes if s.done >= kill.back), default=None)

    def caught_up(self, kill: Kill) -> float | None:
        """When first a command succeeded that was sent after the kill."""
        return min((s.done for s in self.successes if s.sent >= kill.at), default=None)

    def latency(self, quantile: float) -> float:
        ordered = sorted(self.latencies) or [float("nan")]
        return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)]


def shown(end: float | None, begin: float) -> str:
    return "never" if end is None else f"{end - begin:.2f} s"
