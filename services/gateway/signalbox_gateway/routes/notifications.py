"""Notifications: others are told what becomes of tasks, and what was sent to them."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_gateway import errors
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_tasks import TaskBody
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender, in_project_of
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "notifications")

AtNotification = Annotated[
    Sender,
    in_project_of(
        "tasks",
        "notification_id",
        lambda found: contract.FindNotification(notification=found),
        errors.NotificationNotFound,
    ),
]
"""Below `/notifications/{notification_id}`."""


class NewNotification(TaskBody):
    name: contract.NotificationName
    url: contract.WebhookUrl
    """Where it is sent: `https://` or `http://`, to a host that is public."""
    states: contract.NotifiedStatuses
    """Of tasks, as they are reached."""
    paused: bool = False

    def asked(self) -> contract.CreateNotification:
        return contract.CreateNotification(
            name=self.name, url=self.url, states=self.states, paused=self.paused
        )


class NewNotificationSomewhere(NewNotification):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class NotificationChange(TaskBody):
    """What is not named stays."""

    name: contract.NotificationName | None = None
    url: contract.WebhookUrl | None = None
    states: contract.NotifiedStatuses | None = None


@routes.on("POST", "/notifications", contract.CreateNotification, status=201)
async def create_notification(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewNotificationSomewhere
) -> Response:
    """What is sent is signed with its `secret`, which is shown this once."""
    return await Sender(request, clients, asker, body.project_id or HOME).send(body.asked())


@routes.on("POST", "/projects/{project_id}/notifications", contract.CreateNotification, status=201)
async def create_notification_in_project(here: InProject, body: NewNotification) -> Response:
    return await here.send(body.asked())


@routes.on("GET", "/notifications", contract.ListNotifications)
async def list_notifications(
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
    wanted = contract.ListNotifications(q=q, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/notifications", contract.ListNotifications)
async def list_notifications_of_project(
    here: InProject, page: Annotated[contract.ListNotifications, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/notifications/{notification_id}", contract.GetNotification)
async def get_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    return await here.send(contract.GetNotification(notification=notification_id))


@routes.on("PATCH", "/notifications/{notification_id}", contract.UpdateNotification)
async def update_notification(
    here: AtNotification, notification_id: uuid.UUID, body: NotificationChange
) -> Response:
    """What waits to be sent goes to the new address."""
    return await here.send(
        contract.UpdateNotification(
            notification=notification_id, name=body.name, url=body.url, states=body.states
        )
    )


@routes.on("DELETE", "/notifications/{notification_id}", contract.DeleteNotification)
async def delete_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    """With its history, and what waits to be sent."""
    return await here.send(contract.DeleteNotification(notification=notification_id))


@routes.on("POST", "/notifications/{notification_id}/pause", contract.PauseNotification)
async def pause_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    """What happens from now on is not told; what waits to be sent goes on waiting."""
    return await here.send(contract.PauseNotification(notification=notification_id))


@routes.on("POST", "/notifications/{notification_id}/resume", contract.ResumeNotification)
async def resume_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    """With what waits to be sent."""
    return await here.send(contract.ResumeNotification(notification=notification_id))


@routes.on("POST", "/notifications/{notification_id}/rotate", contract.RotateNotification)
async def rotate_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    """A new secret; for a day it is signed with the old one, too."""
    return await here.send(contract.RotateNotification(notification=notification_id))


@routes.on("POST", "/notifications/{notification_id}/test", contract.PingNotification, status=201)
async def ping_notification(here: AtNotification, notification_id: uuid.UUID) -> Response:
    """Sends a ping, once, also where it is paused; the delivery tells what came of it."""
    return await here.send(contract.PingNotification(notification=notification_id))


@routes.on("GET", "/notifications/{notification_id}/deliveries", contract.ListNotices)
async def list_notices(
    here: AtNotification,
    notification_id: uuid.UUID,
    status: contract.NoticeStatus | None = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """What was sent, or is to be, and what became of it; newest first."""
    return await here.send(
        contract.ListNotices(notification=notification_id, status=status, cursor=cursor, limit=limit)
    )


@routes.on("GET", "/notifications/{notification_id}/deliveries/{notice_id}", contract.GetNotice)
async def get_notice(here: AtNotification, notification_id: uuid.UUID, notice_id: uuid.UUID) -> Response:
    return await here.send(contract.GetNotice(notification=notification_id, notice=notice_id))


@routes.on(
    "POST",
    "/notifications/{notification_id}/deliveries/{notice_id}/redeliver",
    contract.RedeliverNotice,
)
async def redeliver_notice(
    here: AtNotification, notification_id: uuid.UUID, notice_id: uuid.UUID
) -> Response:
    """Sends it now, whatever became of it before, under the same id."""
    return await here.send(contract.RedeliverNotice(notification=notification_id, notice=notice_id))
