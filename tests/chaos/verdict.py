"""What must hold after a run."""

from collections import Counter
from dataclasses import dataclass

from tests.chaos.ledger import Ledger, shown
from tests.chaos.plan import Plan
from tests.chaos.truth import Truth

RECOVERY = 5.0
"""Seconds from a kill in the calm until the program runs again, and until a new command has succeeded."""


@dataclass
class Outcome:
    """A finished run: what was seen, what is true, and what is wrong."""

    plan: Plan
    ledger: Ledger
    truth: Truth
    seconds: float

    def problems(self) -> list[str]:
        found = list(self.ledger.broken)
        found += self._missing_load()
        found += self._wrong_counts()
        found += self._wrong_projects()
        found += self._slow_recoveries()
        found += self._own_deaths()
        found += [f"dead letter: {letter}" for letter in self.truth.letters]
        if self.truth.alarms:
            found.append(f"{self.truth.alarms} new events were taken for duplicates by the stream")
        return found

    def _missing_load(self) -> list[str]:
        """A run with too little load or too few kills would prove too little."""
        commands, alone = self.ledger.commands, sum(kill.alone for kill in self.ledger.kills)
        in_storm = len(self.ledger.kills) - alone
        missing = {
            f"{commands} commands instead of {self.plan.commands} or more": commands < self.plan.commands,
            f"{in_storm} kills instead of {len(self.plan.victims)}": in_storm != len(self.plan.victims),
            f"{alone} kills in the calm instead of {len(self.plan.alone)}": alone != len(self.plan.alone),
        }
        return [what for what, is_missing in missing.items() if is_missing]

    def _wrong_counts(self) -> list[str]:
        wanted = self.ledger.commands
        counts = {
            "keys with an answer": len(self.ledger.projects),
            "different projects in answers": len(set(self.ledger.projects.values())),
            "projects in the database": len(self.truth.projects),
            "commands that the inbox calls succeeded": self.truth.inbox["succeeded"],
            "commands in the inbox": self.truth.inbox.total(),
            "project.created events": self.truth.events.total(),
            "project.created events by ce-id": len(self.truth.events),
            "projects announced": len(self.truth.announced),
            "lines of the audit log": self.truth.audited.total(),
            "projects in the audit log": len(self.truth.audited),
        }
        return [f"{count} {what} instead of {wanted}" for what, count in counts.items() if count != wanted]

    def _wrong_projects(self) -> list[str]:
        """Counts may agree by chance; the very ids must agree too."""
        answered, announced = set(self.ledger.projects.values()), set(self.truth.announced)
        sets = {
            "made but never answered": self.truth.projects - answered,
            "answered but not there": answered - self.truth.projects,
            "made but not announced": self.truth.projects - announced,
            "announced but not there": announced - self.truth.projects,
            "announced twice": {project for project, n in self.truth.announced.items() if n > 1},
        }
        return [f"{len(ids)} projects {what}: {sorted(ids)[:3]}" for what, ids in sets.items() if ids]

    def _slow_recoveries(self) -> list[str]:
        """In the storm a recovery may wait for others that were killed: that is shown, not judged."""
        return [
            f"{kill.program} was killed alone; from kill to {what}: {shown(end, kill.at)}"
            for kill in self.ledger.kills
            if kill.alone
            for what, end in (
                ("running", kill.back),
                ("next success", self.ledger.caught_up(kill)),
            )
            if end is None or end - kill.at > RECOVERY
        ]

    def _own_deaths(self) -> list[str]:
        """A program restarts as often as it was killed; more means that it died of something else."""
        kills = Counter(kill.program for kill in self.ledger.kills)
        return [
            f"{name} was killed {kills[name]} times, but restarted {restarts} times"
            for name, restarts in self.truth.restarts.items()
            if restarts != kills[name]
        ]
