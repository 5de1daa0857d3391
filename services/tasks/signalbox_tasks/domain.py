"""Tasks and runs as records, and what follows what."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from signalbox_common.contracts.tasks import (
    ExecShell,
    Priority,
    RunError,
    RunResult,
    RunState,
    StepName,
    StepState,
    StopReason,
    TaskAttachment,
    TaskSpec,
    TaskStatus,
)
from signalbox_common.teams import TeamMember

CONFIRMATION = "confirmation"
"""What a run waits for where a person says whether it goes on."""
RANKS = {Priority.LOW: 0, Priority.MEDIUM: 1, Priority.HIGH: 2, Priority.URGENT: 3}
PRIORITIES = {rank: priority for priority, rank in RANKS.items()}
FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT})
SHOWN = 1000
"""Characters of a reason that are kept."""
_STATUS = {state: TaskStatus(state.value) for state in RunState if state is not RunState.QUEUED}
_OF_WORKSPACE = frozenset(
    {StepName.PREPARE, StepName.SANDBOX, StepName.SETUP, StepName.COLLECT, StepName.DELIVER}
)
_TO_DELIVER = ("changes", "commit", "branch", "base")
_TO_RESTORE = ("members", "version", "place", "checkpoints", "answers", "restore")
SANDBOX_LOST = "sandbox_lost"
_WORDS = re.compile(r"[^a-z0-9]+")
_LONGEST_SLUG = 40
_ENDS = {
    StopReason.CANCELLED: RunState.CANCELLED,
    StopReason.SUPERSEDED: RunState.CANCELLED,
    StopReason.TIMED_OUT: RunState.TIMED_OUT,
    StopReason.AUTHORITY_ENDED: RunState.FAILED,
}


@dataclass(frozen=True)
class Task:
    id: uuid.UUID
    project_id: uuid.UUID
    title: str
    description: str
    priority: Priority
    labels: Mapping[str, str]
    spec: TaskSpec
    run: uuid.UUID
    """The newest one."""
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    status: TaskStatus = TaskStatus.PENDING
    attempts: int = 1
    error: RunError | None = None
    branch: str | None = None
    """Where its changes were pushed, or are to be."""
    pushed: str | None = None
    """The commit that was pushed there last."""
    target: str | None = None
    """The branch that it began at, and that its pull request is to."""
    pull_request_url: str | None = None
    completed_at: datetime | None = None
    attachments: tuple[TaskAttachment, ...] = ()
    schedule: uuid.UUID | None = None
    """The one that has started it."""
    trigger: uuid.UUID | None = None
    """The same."""

    @property
    def target_branch(self) -> str:
        """Where its changes go: the same for all of its runs."""
        return self.branch or self.spec.branch or f"signalbox/{slug(self.title)}-{self.id.hex[-6:]}"

    def retries(self, run: "Run") -> bool:
        """Whether another run follows one that has failed by itself."""
        policy, error = self.spec.retry, run.error
        if run.state is not RunState.FAILED or error is None or run.wish.attempt >= policy.attempts:
            return False
        return run.stop_reason is None and (error.retryable or error.code in policy.on)

    def again(self, run: uuid.UUID, now: datetime) -> "Task":
        return replace(
            self,
            run=run,
            attempts=self.attempts + 1,
            status=TaskStatus.PENDING,
            error=None,
            completed_at=None,
            updated_at=now,
        )

    def follows(self, run: "Run", now: datetime) -> "Task":
        """What its newest run says."""
        if run.id != self.run:
            return self
        found = run.facts
        return replace(
            self,
            status=TaskStatus.PENDING if run.state is RunState.QUEUED else _STATUS[run.state],
            error=run.error,
            branch=found.get("pushedBranch") or self.branch,
            pushed=found.get("pushed") or self.pushed,
            target=self.target or found.get("base"),
            pull_request_url=found.get("pullRequestUrl") or self.pull_request_url,
            updated_at=now,
            completed_at=now if run.ended else None,
        )


@dataclass(frozen=True)
class RunWish:
    """What is wanted of one run beyond its task."""

    message: str | None = None
    exec: ExecShell | None = None
    goes_on: bool = False
    """From its branch, and not from where the task began."""
    findings: str | None = None
    workflow_files: str | None = None
    attempt: int = 1
    """Of those that follow each other by themselves."""


@dataclass(frozen=True)
class Consumption:
    """Of a model."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Consumption") -> "Consumption":
        return Consumption(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )

    def record(self) -> dict[str, Any]:
        return {**vars(self), "cost": str(self.cost)}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> "Consumption":
        return Consumption(**{**record, "cost": Decimal(record["cost"])})


@dataclass(frozen=True)
class Run:
    """One attempt. What is learned on the way stands in its facts, by name."""

    id: uuid.UUID
    project_id: uuid.UUID
    task_id: uuid.UUID
    attempt: int
    plan: tuple[StepName, ...]
    rank: int
    created_by: uuid.UUID
    created_by_name: str
    queued_at: datetime
    authority: uuid.UUID
    """The run under whose proof and delegation it acts: its own, or the one that it follows by itself."""
    wish: RunWish = field(default_factory=RunWish)
    state: RunState = RunState.QUEUED
    step: StepName | None = None
    admitted: bool = False
    """Whether it may begin: it counts among those of its project that do."""
    key: str | None = None
    agent: uuid.UUID | None = None
    stop_reason: StopReason | None = None
    waiting_for: str | None = None
    """Of a person: nobody works on it until that is settled."""
    error: RunError | None = None
    result: RunResult | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    log_end: int = 0
    proof_at: datetime | None = None
    """When the stream took the command that it was asked for with, where there is a proof of that."""
    holder: uuid.UUID | None = None
    """The schedule or the trigger that has its authority: that was there before, and does not end with it."""
    held: bool = False
    """Whether others that were started at the same time come first."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ends_at: float | None = None
    """The second of this service's life in which its time is over."""
    version: int = 1

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    @property
    def members(self) -> tuple[TeamMember, ...]:
        """Who works on it, once that is known."""
        return tuple(map(TeamMember.of_record, self.facts.get("members", ())))

    @property
    def place(self) -> int:
        """Of the member whose turn it is."""
        return int(self.facts.get("place", 0))

    @property
    def percent(self) -> int:
        """How many of its steps are behind it, and, where bots take turns, of those."""
        if self.state is RunState.SUCCEEDED:
            return 100
        if self.step not in self.plan:
            return 0
        begun = self.plan.index(self.step) if self.step is not None else 0
        within = self.place / len(self.members) if self.step is StepName.SHELL and self.members else 0.0
        return int(100 * (begun + within) / len(self.plan))

    @property
    def to_deliver(self) -> Mapping[str, Any] | None:
        """What another run needs to deliver what this one has made; None where that is not there."""
        if any(name not in self.facts for name in _TO_DELIVER):
            return None
        return {name: self.facts.get(name) for name in (*_TO_DELIVER, "bundle")}

    @property
    def checkpoint(self) -> Mapping[str, Any] | None:
        """What another run needs to go on from the last one, also where that is of a run before."""
        there = self.facts.get("checkpoints")
        if not there:
            return None
        place = max(map(int, there))
        known = self.facts.get("restore")
        if known is not None and known["place"] == place:
            return {name: self.facts[name] for name in _TO_RESTORE if name in self.facts}
        begun = self.facts.get("begun", {})
        return {name: self.facts[name] for name in _TO_RESTORE if name in self.facts} | {
            "place": place,
            "restore": {
                "run": str(self.id),
                "place": place,
                "commit": self.facts["commit"],
                "base": self.facts["base"],
                "begin": int(begun.get(str(place), 0)),
                "end": int(begun.get(str(place + 1), self.log_end)),
            },
        }

    @property
    def restores(self) -> Mapping[str, Any] | None:
        """The checkpoint of a run before that it goes on from: there, the work of that place is done."""
        found: Mapping[str, Any] | None = self.facts.get("restore")
        return found

    @property
    def stopping(self) -> bool:
        return self.stop_reason is not None

    def acting_under(
        self, authority: uuid.UUID, proof_at: datetime | None, holder: uuid.UUID | None
    ) -> "Run":
        """What was given before it; who holds one has been given it already."""
        if StepName.AUTHORITY not in self.plan:
            proof_at = None
        plan = self.plan
        if holder is not None:
            plan = tuple(step for step in plan if step is not StepName.AUTHORITY)
        return replace(self, authority=authority, proof_at=proof_at, holder=holder, plan=plan)

    def delivering(self, facts: Mapping[str, Any]) -> "Run":
        """Only that; nothing is run for it."""
        own = (StepName.AUTHORITY,) if self.holder is None else ()
        return replace(self, plan=(*own, StepName.DELIVER), facts=facts)

    def restoring(self, facts: Mapping[str, Any]) -> "Run":
        """Beginning with a checkpoint, and with whom it was made."""
        return replace(
            self, plan=tuple(step for step in self.plan if step is not StepName.RESOLVE), facts=facts
        )

    def begun(self, now: datetime, ends_at: float) -> "Run":
        return replace(
            self, state=RunState.RUNNING, started_at=now, ends_at=ends_at, version=self.version + 1
        )

    def at(self, step: StepName) -> "Run":
        return replace(self, step=step, version=self.version + 1)

    def passed_on(self) -> "Run":
        """To the bot that follows."""
        return replace(self, version=self.version + 1).knowing(place=self.place + 1)

    def knowing(self, **facts: Any) -> "Run":
        return replace(self, facts={**self.facts, **facts})

    def waiting(self, what: str, ends_at: float, lived: float) -> "Run":
        """With what is left of its time for later."""
        left = max(1.0, (self.ends_at or lived) - lived)
        waits = replace(
            self, state=RunState.WAITING, waiting_for=what, ends_at=ends_at, version=self.version + 1
        )
        return waits.knowing(left=left)

    def answered(self, lived: float, **facts: Any) -> "Run":
        """It goes on, with the time that it had left."""
        ends_at = lived + float(self.facts.get("left", 1.0))
        goes_on = replace(
            self, state=RunState.RUNNING, waiting_for=None, ends_at=ends_at, version=self.version + 1
        )
        return goes_on.knowing(**facts)

    @property
    def usage(self) -> dict[str, Consumption]:
        """Of each model, by its name."""
        return {name: Consumption.of_record(each) for name, each in self.facts.get("usage", {}).items()}

    @property
    def used(self) -> Consumption:
        """Of all models."""
        return sum(self.usage.values(), Consumption())

    @property
    def main_model(self) -> str | None:
        """That it has used most."""
        usage = self.usage
        return max(usage, key=lambda name: (usage[name].tokens, usage[name].requests, name), default=None)

    def using(self, model: str, used: Consumption) -> "Run":
        """More than before: kept in the transaction that keeps what it was used for."""
        usage = {**self.usage, model: self.usage.get(model, Consumption()) + used}
        return self.knowing(usage={name: each.record() for name, each in usage.items()})

    def with_result(self, result: RunResult) -> "Run":
        return replace(self, result=result)

    def stopped(self, reason: StopReason) -> "Run":
        """It ends as soon as what it has begun is put away."""
        return replace(
            self,
            state=RunState.STOPPING,
            stop_reason=reason,
            waiting_for=None,
            version=self.version + 1,
        )

    def failed(self, error: RunError) -> "Run":
        """The first reason counts."""
        return replace(self, error=self.error or error)

    def end(self, now: datetime) -> "Run":
        """As it turned out: who stopped it comes too late where all was done before."""
        if self.stop_reason is not None:
            state: RunState = _ENDS[self.stop_reason]
            reason = RunError(code=self.stop_reason, detail=REASONS[self.stop_reason])
            error: RunError | None = self.error or reason
        else:
            state = RunState.FAILED if self.error is not None else RunState.SUCCEEDED
            error = self.error
        return replace(
            self, state=state, error=error, finished_at=now, ends_at=None, version=self.version + 1
        )

    def done_before_the_stop(self) -> "Run":
        return replace(self, stop_reason=None).knowing(late=self.stop_reason)

    @property
    def was_stopped(self) -> bool:
        """Also where that came too late."""
        return self.stopping or "late" in self.facts


REASONS = {
    StopReason.CANCELLED: "It was cancelled.",
    StopReason.SUPERSEDED: "A newer task with its concurrency key took its place.",
    StopReason.TIMED_OUT: "Its time was over.",
    StopReason.AUTHORITY_ENDED: "Whoever asked for it may not do this here any more.",
}


@dataclass(frozen=True)
class Step:
    name: StepName
    state: StepState
    started_at: datetime
    finished_at: datetime | None = None
    detail: str | None = None
    error: RunError | None = None
    request: Mapping[str, Any] | None = None
    """What was asked of another service for it, as it is asked again."""


def plan_of(spec: TaskSpec) -> tuple[StepName, ...]:
    """The steps of a run, in their order."""
    if spec.noop is not None:
        return (StepName.SHELL,)
    of_repository = spec.repository is not None
    steps = (
        (StepName.AUTHORITY, True),
        (StepName.RESOLVE, spec.bot is not None or spec.team is not None),
        (StepName.PREPARE, of_repository),
        (StepName.SANDBOX, True),
        (StepName.SETUP, bool(spec.setup)),
        (StepName.SHELL, True),
        (StepName.COLLECT, of_repository),
        (StepName.DELIVER, of_repository),
    )
    return tuple(name for name, wanted in steps if wanted)


def without_workspace(plan: tuple[StepName, ...]) -> tuple[StepName, ...]:
    """Of those who need none."""
    return tuple(name for name in plan if name not in _OF_WORKSPACE)


def next_step(run: Run, over: frozenset[StepName], begun: frozenset[StepName]) -> StepName | None:
    """None where there is nothing more to do.

    A run that has failed, or is stopped, still puts away what it has made, as far as somebody lets it; and
    hears what became of what it has sent away.
    """
    left = [name for name in run.plan if name not in over]
    if run.error is None and not run.stopping:
        return left[0] if left else None
    if run.stop_reason is StopReason.AUTHORITY_ENDED:
        return None
    if StepName.DELIVER in left and StepName.DELIVER in begun:
        return StepName.DELIVER
    return StepName.COLLECT if StepName.COLLECT in left and "sandbox" in run.facts else None


def slug(title: str) -> str:
    """Of any words, a part of the name of a branch."""
    found = _WORDS.sub("-", title.lower()).strip("-")[:_LONGEST_SLUG].strip("-")
    return found or "task"
