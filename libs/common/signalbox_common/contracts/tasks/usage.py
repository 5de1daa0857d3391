"""Usage: what the runs of a project have come to and taken, by day, agent, model and person."""

import uuid
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import GrantScope, Query, Reply, Text

LONGEST_USAGE = 366
"""Days that are asked for at a time."""


class UsageGroup(StrEnum):
    DAY = "day"
    AGENT = "agent"
    MODEL = "model"
    PERSON = "person"


class UsageRow(Reply):
    """What it was not asked by is null; so are the agent and the model of runs that had none."""

    day: date | None = None
    """Of UTC, on which the runs ended."""
    agent_id: uuid.UUID | None = None
    model: str | None = None
    """A run counts for the model that it used most; requests, tokens and cost for each that it used."""
    user_id: uuid.UUID | None = None
    """In whose name the runs were."""
    runs: int
    """That have ended."""
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    run_seconds: float
    """From begin to end, of those that have begun."""
    sandbox_seconds: float
    """Of that, from when the sandbox of the run was there."""
    requests: int
    """To models."""
    input_tokens: int
    output_tokens: int
    cost: float


class UsagePage(Reply):
    since: date
    until: date
    """The last day that counts."""
    by: tuple[UsageGroup, ...]
    persons: Literal["all", "own"]
    """Whose figures are told apart by person: `own` for those who are not maintainers."""
    items: tuple[UsageRow, ...]
    next_cursor: str | None = None


class GetUsage(Query[UsagePage]):
    """In the order of its groups; one row where there is none. From what was counted when each run ended.

    By person, maintainers and owners see everybody, others themselves.
    """

    subject = "qry.tasks.v1.usage"
    grant = GrantScope.PROJECT

    since: date | None = None
    """By default 30 days."""
    until: date | None = None
    by: Annotated[tuple[UsageGroup, ...], Field(max_length=len(UsageGroup))] = ()
    cursor: Annotated[Text, StringConstraints(max_length=600)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.by)) < len(self.by):
            raise ValueError("`by` names something twice")
        return self
