"""Agents as records: what they come to, and what is counted of their runs."""

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from signalbox_common.contracts.tasks import AgentStatus

NOT_RUNNABLE = frozenset({"unresolvable", "unknown_shell", "unknown_collaboration", "bad_shell"})
"""Errors of runs that say that nothing can run an agent as it is."""
MANY = 3
"""Runs that fail one after the other before an agent is in error."""
_GROWTH = math.log(1.04)


@dataclass(frozen=True)
class Workload:
    """Of the runs of an agent that have not ended."""

    running: int = 0
    waiting: int = 0
    queued: int = 0
    task: uuid.UUID | None = None
    sandbox: uuid.UUID | None = None


@dataclass(frozen=True)
class Agent:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    role: str
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    avatar_url: str | None = None
    bot: str | None = None
    team: str | None = None
    concurrency: int | None = None
    missing: bool = False
    """Whether its bot or its team was deleted."""
    seen: int = 0
    """The version of that, of which this was told."""
    trouble: str | None = None
    """Why its last run that was looked up could not be run."""
    failed_in_row: int = 0
    runs: int = 0
    succeeded: int = 0
    lost: int = 0
    """That failed, or ran out of time."""
    version: int = 1

    def changed(self, now: datetime, **changes: Any) -> "Agent":
        """Working as something else, it is not known yet whether that can be run."""
        if "bot" in changes or "team" in changes:
            changes = {"bot": None, "team": None, "missing": False, "seen": 0, "trouble": None} | changes
        return replace(self, **changes, updated_at=now, version=self.version + 1)

    def status(self, load: Workload) -> tuple[AgentStatus, str | None]:
        """With why, where it is not well."""
        if load.running:
            return AgentStatus.BUSY, None
        if load.waiting or load.queued:
            return AgentStatus.WAITING, None
        if self.missing:
            return (
                AgentStatus.OFFLINE,
                f"There is no {'bot' if self.bot else 'team'} {self.bot or self.team}.",
            )
        if self.trouble is not None:
            return AgentStatus.OFFLINE, self.trouble
        if self.failed_in_row >= MANY:
            return AgentStatus.ERROR, f"Its last {self.failed_in_row} runs have failed."
        return AgentStatus.IDLE, None

    @property
    def success_rate(self) -> float | None:
        """Cancelling says nothing of it."""
        counted = self.succeeded + self.lost
        return self.succeeded / counted if counted else None


def bucket_of(seconds: float) -> int:
    """Of so many milliseconds, so that those of one bucket are no more than 4 % apart."""
    return int(math.log(max(1.0, seconds * 1000)) / _GROWTH)


def seconds_of(bucket: int) -> float:
    """In its middle."""
    return math.exp((bucket + 0.5) * _GROWTH) / 1000


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The shortest duration that so many are not longer than."""
    wanted = math.ceil(sum(buckets.values()) * share)
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return seconds_of(bucket)
    return None
