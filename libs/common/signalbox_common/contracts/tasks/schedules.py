"""Schedules: when a task is created by itself, and for whom."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Command, Empty, GrantScope, Message, Moment, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks.base import DAY, ONE_LINE, TaskPlace
from signalbox_common.contracts.tasks.tasks import NewTask, Task

SCHEDULE_NOT_FOUND = {"schedule_not_found": 404}
_GIVEN = {
    "bad_schedule": 422,
    "schedule_exists": 409,
    "project_gone": 409,
    "environment_not_found": 404,
    "agent_not_found": 404,
    "attachment_not_found": 422,
    "attachment_names_clash": 422,
}

ScheduleName = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE)]
CronExpression = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE)]
TimeZone = Annotated[Text, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")]
Interval = Annotated[int, Field(ge=10, le=366 * DAY)]
"""Seconds."""
MisfireLimit = Annotated[int, Field(ge=1, le=100)]
LateAfter = Annotated[int, Field(ge=1, le=DAY)]


class Misfire(StrEnum):
    """What becomes of times that were missed."""

    SKIP = "skip"
    ONCE = "once"
    """The newest of them is made up for."""
    ALL = "all"
    """All of them are, up to the limit: the newest."""


class Overlap(StrEnum):
    """What becomes of a time that comes while a task of an earlier one has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    """Its task waits until the others have ended."""
    CANCEL = "cancel"
    """The others are cancelled."""


class Timing(Message):
    """When: by one of `cron`, `at` and `every`."""

    cron: CronExpression | None = None
    """Minute, hour, day of the month, month, day of the week; or `@daily` and the like."""
    at: Moment | None = None
    """Once."""
    every: Interval | None = None
    """Seconds from one to the next, counted from when this was said."""
    timezone: TimeZone = "UTC"
    """That of `cron`, from the IANA database."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if sum(each is not None for each in (self.cron, self.at, self.every)) != 1:
            raise ValueError("a schedule says when, by one of `cron`, `at` and `every`")
        return self


class Policies(Message):
    misfire: Misfire = Misfire.ONCE
    misfire_limit: MisfireLimit = 10
    """How many are made up for at most, where all are."""
    late_after: LateAfter = 60
    """Seconds after which a time that nobody was there for counts as missed."""
    overlap: Overlap = Overlap.SKIP


class ScheduledTask(NewTask):
    """What is created each time."""


class Schedule(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    cron: str | None = None
    at: datetime | None = None
    every: int | None = None
    timezone: str
    task: ScheduledTask
    misfire: Misfire
    misfire_limit: int
    late_after: int
    overlap: Overlap
    paused: bool
    reason: str | None = None
    """Why, where nobody has paused it."""
    next_runs: tuple[datetime, ...]
    """The next five times; none where it is paused, or over."""
    last_run: datetime | None = None
    """The last time for which a task was created."""
    last_task_id: uuid.UUID | None = None
    acts_for: uuid.UUID
    """Whoever has said last what it does: its tasks may do what they may."""
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    version: int


class CreateSchedule(Command[Schedule]):
    subject = "cmd.tasks.v1.create-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = _GIVEN | {"too_many_schedules": 429}

    name: ScheduleName
    timing: Timing
    task: NewTask
    policies: Policies = Policies()
    paused: bool = False


class UpdateSchedule(Command[Schedule]):
    """What is not named stays; from now on it acts for whoever changes it."""

    subject = "cmd.tasks.v1.update-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "schedule"
    refusals = SCHEDULE_NOT_FOUND | _GIVEN

    schedule: uuid.UUID
    name: ScheduleName | None = None
    cron: CronExpression | None = None
    at: Moment | None = None
    every: Interval | None = None
    timezone: TimeZone | None = None
    task: NewTask | None = None
    misfire: Misfire | None = None
    misfire_limit: MisfireLimit | None = None
    late_after: LateAfter | None = None
    overlap: Overlap | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if sum(each is not None for each in (self.cron, self.at, self.every)) > 1:
            raise ValueError("a schedule says when, by one of `cron`, `at` and `every`")
        return self


class PauseSchedule(Command[Schedule]):
    """What comes meanwhile is not missed: nobody wants it."""

    subject = "cmd.tasks.v1.pause-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "schedule"
    refusals = SCHEDULE_NOT_FOUND

    schedule: uuid.UUID


class ResumeSchedule(Command[Schedule]):
    """From now on, and for whoever says so."""

    subject = "cmd.tasks.v1.resume-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "schedule"
    refusals = SCHEDULE_NOT_FOUND | {"project_gone": 409}

    schedule: uuid.UUID


class DeleteSchedule(Command[Empty]):
    """Its tasks stay, and go on."""

    subject = "cmd.tasks.v1.delete-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "schedule"
    refusals = SCHEDULE_NOT_FOUND

    schedule: uuid.UUID


class RunSchedule(Command[Task]):
    """Its task now, beside its times, and for whoever asks."""

    subject = "cmd.tasks.v1.run-schedule"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "schedule"
    refusals = SCHEDULE_NOT_FOUND | {
        "project_gone": 409,
        "concurrency_busy": 409,
        "environment_not_found": 404,
        "dependency_not_found": 404,
        "agent_not_found": 404,
        "attachment_not_found": 422,
        "attachment_names_clash": 422,
        "quota_exceeded": 429,
        "already_done": 409,  # longer ago than its answer is kept
        "disk_full": 507,
    }

    schedule: uuid.UUID


class GetSchedule(Query[Schedule]):
    subject = "qry.tasks.v1.get-schedule"
    grant = GrantScope.PROJECT
    refusals = SCHEDULE_NOT_FOUND

    schedule: uuid.UUID


class FindSchedule(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-schedule"
    grant = GrantScope.NONE
    refusals = SCHEDULE_NOT_FOUND

    schedule: uuid.UUID


class SchedulePage(Reply):
    items: tuple[Schedule, ...]
    next_cursor: str | None = None


class ListSchedules(Query[SchedulePage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-schedules"
    grant = GrantScope.PROJECT

    q: Search | None = None
    """Words of the name."""
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


# -- what it did -------------------------------------------------------------------------------------------


class Firing(Reply):
    """One time, or several that were skipped together."""

    id: int
    due_at: datetime
    until: datetime
    """The last of them."""
    times: int
    outcome: Literal["started", "skipped", "failed"]
    reason: str | None = None
    """Why no task was created: `missed`, `overlap`, or the code of what refused it."""
    detail: str | None = None
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    asked_by: uuid.UUID | None = None
    """None where its time had come."""
    fired_at: datetime


class FiringPage(Reply):
    items: tuple[Firing, ...]
    next_cursor: str | None = None


class ListFirings(Query[FiringPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-firings"
    grant = GrantScope.PROJECT
    refusals = SCHEDULE_NOT_FOUND

    schedule: uuid.UUID
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ScheduleChanged(Event):
    """Created, changed, paused or resumed; what it starts is told of its runs."""

    subject = "evt.*.tasks.schedule.changed"

    schedule: uuid.UUID
    name: str
    paused: bool
    reason: str | None = None
    version: int


class ScheduleDeleted(Event):
    subject = "evt.*.tasks.schedule.deleted"

    schedule: uuid.UUID
