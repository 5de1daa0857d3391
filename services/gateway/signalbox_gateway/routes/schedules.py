"""Schedules: when a task is created by itself, and for whom."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Moment
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_gateway import errors
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_tasks import NOT_HERE, TaskBody
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender, in_project_of
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.tasks import BESIDE, NewTask
from signalbox_gateway.routes.timings import Every, Timing

routes = Routes("/api/v1", "schedules")

AtSchedule = Annotated[
    Sender,
    in_project_of(
        "tasks",
        "schedule_id",
        lambda found: contract.FindSchedule(schedule=found),
        errors.ScheduleNotFound,
    ),
]
"""Below `/schedules/{schedule_id}`."""


class NewSchedule(Timing):
    name: contract.ScheduleName
    task: NewTask
    """What is created each time, as `POST /tasks` takes it."""

    async def wanted(self, here: Sender) -> contract.CreateSchedule:
        return self.asked(self.name, await self.task.asked(here))


class NewScheduleSomewhere(NewSchedule):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class ScheduleChange(TaskBody):
    """What is not named stays."""

    name: contract.ScheduleName | None = None
    cron: contract.CronExpression | None = None
    at: Moment | None = None
    every: Every | None = None
    timezone: contract.TimeZone | None = None
    task: NewTask | None = None
    misfire: contract.Misfire | None = None
    misfire_limit: contract.MisfireLimit | None = None
    late_after: contract.LateAfter | None = None
    overlap: contract.Overlap | None = None


@routes.on("POST", "/schedules", contract.CreateSchedule, *BESIDE, status=201, also=NOT_HERE)
async def create_schedule(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewScheduleSomewhere
) -> Response:
    """Its tasks act for whoever creates it; `nextRuns` are the times that come next."""
    here = Sender(request, clients, asker, body.project_id or HOME)
    return await here.send(await body.wanted(here))


@routes.on(
    "POST",
    "/projects/{project_id}/schedules",
    contract.CreateSchedule,
    *BESIDE,
    status=201,
    also=NOT_HERE,
)
async def create_schedule_in_project(here: InProject, body: NewSchedule) -> Response:
    return await here.send(await body.wanted(here))


@routes.on("GET", "/schedules", contract.ListSchedules)
async def list_schedules(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    q: Annotated[Search | None, Query(description="Words of the name.")] = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    wanted = contract.ListSchedules(q=q, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/schedules", contract.ListSchedules)
async def list_schedules_of_project(
    here: InProject, page: Annotated[contract.ListSchedules, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/schedules/{schedule_id}", contract.GetSchedule)
async def get_schedule(here: AtSchedule, schedule_id: uuid.UUID) -> Response:
    return await here.send(contract.GetSchedule(schedule=schedule_id))


@routes.on("PATCH", "/schedules/{schedule_id}", contract.UpdateSchedule, *BESIDE, also=NOT_HERE)
async def update_schedule(here: AtSchedule, schedule_id: uuid.UUID, body: ScheduleChange) -> Response:
    """From now on it acts for whoever changes it."""
    task = await body.task.asked(here) if body.task is not None else None
    return await here.send(
        contract.UpdateSchedule(
            schedule=schedule_id,
            name=body.name,
            cron=body.cron,
            at=body.at,
            every=body.every,
            timezone=body.timezone,
            task=task,
            misfire=body.misfire,
            misfire_limit=body.misfire_limit,
            late_after=body.late_after,
            overlap=body.overlap,
        )
    )


@routes.on("DELETE", "/schedules/{schedule_id}", contract.DeleteSchedule)
async def delete_schedule(here: AtSchedule, schedule_id: uuid.UUID) -> Response:
    """Its tasks stay, and go on."""
    return await here.send(contract.DeleteSchedule(schedule=schedule_id))


@routes.on("POST", "/schedules/{schedule_id}/pause", contract.PauseSchedule)
async def pause_schedule(here: AtSchedule, schedule_id: uuid.UUID) -> Response:
    """What comes meanwhile is not missed: nobody wants it."""
    return await here.send(contract.PauseSchedule(schedule=schedule_id))


@routes.on("POST", "/schedules/{schedule_id}/resume", contract.ResumeSchedule)
async def resume_schedule(here: AtSchedule, schedule_id: uuid.UUID) -> Response:
    """From now on, and for whoever says so."""
    return await here.send(contract.ResumeSchedule(schedule=schedule_id))


@routes.on("POST", "/schedules/{schedule_id}/run", contract.RunSchedule, status=201)
async def run_schedule(here: AtSchedule, schedule_id: uuid.UUID) -> Response:
    """Its task now, beside its times, and for whoever asks."""
    return await here.send(contract.RunSchedule(schedule=schedule_id))


@routes.on("GET", "/schedules/{schedule_id}/history", contract.ListFirings)
async def list_firings(
    here: AtSchedule,
    schedule_id: uuid.UUID,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """What became of its times, newest first."""
    return await here.send(contract.ListFirings(schedule=schedule_id, cursor=cursor, limit=limit))
