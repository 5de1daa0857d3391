"""Notifications: others are told, over HTTP, what becomes of tasks."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks.base import ONE_LINE, RunError, TaskPlace

NOTIFICATION_NOT_FOUND = {"notification_not_found": 404}
NOTICE_NOT_FOUND = {"notice_not_found": 404}
_GIVEN = {"bad_notification": 422, "notification_exists": 409, "project_gone": 409}

NotificationName = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE)]
WebhookUrl = Annotated[Text, StringConstraints(max_length=2000, pattern=r"^[\x21-\x7e]+$")]
"""Where it is sent: `https://` or `http://`, without a user and a password."""


class NotifiedStatus(StrEnum):
    """States of tasks that others can be told of."""

    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


NotifiedStatuses = Annotated[tuple[NotifiedStatus, ...], Field(min_length=1, max_length=len(NotifiedStatus))]


class NoticeStatus(StrEnum):
    PENDING = "pending"
    """It is sent, or will be."""
    DELIVERED = "delivered"
    """Its receiver has answered with a status of 200 to 299."""
    DEAD = "dead"
    """Nobody tries any more; it can be sent again."""


class Notification(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    url: str
    states: tuple[NotifiedStatus, ...]
    paused: bool
    reason: str | None = None
    """Why, where nobody has paused it."""
    failures: int
    """Tries that have failed since the last one that did not."""
    delivered_at: datetime | None = None
    """When something was delivered last."""
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    version: int


class NotificationKey(Reply):
    """Shown once, and to nobody afterwards."""

    notification: Notification
    secret: SecretStr
    """What is signed with, as Standard Webhooks has it: `whsec_…`."""


class CreateNotification(Ask[NotificationKey]):
    """An ask, because its answer is a secret."""

    subject = "ask.tasks.v1.create-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    refusals = _GIVEN | {"too_many_notifications": 429}

    name: NotificationName
    url: WebhookUrl
    states: NotifiedStatuses
    paused: bool = False


class UpdateNotification(Command[Notification]):
    """What is not named stays; what waits to be sent goes to the new address."""

    subject = "cmd.tasks.v1.update-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND | _GIVEN

    notification: uuid.UUID
    name: NotificationName | None = None
    url: WebhookUrl | None = None
    states: NotifiedStatuses | None = None


class RotateNotification(Ask[NotificationKey]):
    """A new secret; for a day it is signed with the old one, too."""

    subject = "ask.tasks.v1.rotate-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID


class PauseNotification(Command[Notification]):
    """What happens from now on is not told; what waits to be sent goes on waiting."""

    subject = "cmd.tasks.v1.pause-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID


class ResumeNotification(Command[Notification]):
    """With what waits to be sent."""

    subject = "cmd.tasks.v1.resume-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND | {"project_gone": 409}

    notification: uuid.UUID


class DeleteNotification(Command[Empty]):
    """With its history, and what waits to be sent."""

    subject = "cmd.tasks.v1.delete-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID


class GetNotification(Query[Notification]):
    subject = "qry.tasks.v1.get-notification"
    grant = GrantScope.PROJECT
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID


class FindNotification(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-notification"
    grant = GrantScope.NONE
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID


class NotificationPage(Reply):
    items: tuple[Notification, ...]
    next_cursor: str | None = None


class ListNotifications(Query[NotificationPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-notifications"
    grant = GrantScope.PROJECT

    q: Search | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


# -- what is sent ------------------------------------------------------------------------------------------


class TaskNotice(Message):
    """What is told of a task, as it was at that moment."""

    project_id: uuid.UUID
    task_id: uuid.UUID
    run_id: uuid.UUID
    attempt: int
    """Which run of the task this is."""
    version: int
    """Of the run: of two states of one run, the later one has the greater."""
    title: str
    status: NotifiedStatus
    waiting_for: str | None = None
    error: RunError | None = None
    branch: str | None = None
    commit: str | None = None
    """What was pushed there."""
    pull_request_url: str | None = None
    agent_id: uuid.UUID | None = None
    schedule_id: uuid.UUID | None = None
    trigger_id: uuid.UUID | None = None


class Notice(Reply):
    """One message to the receiver of a notification, and what became of it."""

    id: uuid.UUID
    """The `webhook-id` of all of its tries."""
    notification_id: uuid.UUID
    sequence: int
    """What was written down later has a greater one."""
    type: str
    """`tasks.task.failed` and the like, or `tasks.notification.ping`."""
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    status: NoticeStatus
    attempts: int
    http_status: int | None = None
    """That of the last answer."""
    duration_ms: int | None = None
    """How long the last try took."""
    reason: str | None = None
    """Why the last try failed, or none was made."""
    excerpt: str | None = None
    """How the last answer begins."""
    created_at: datetime
    attempted_at: datetime | None = None
    next_attempt_at: datetime | None = None


class PingNotification(Command[Notice]):
    """Something to try it with: sent once, also where it is paused."""

    subject = "cmd.tasks.v1.ping-notification"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notification"
    refusals = NOTIFICATION_NOT_FOUND | {"project_gone": 409, "too_many_notices": 429}

    notification: uuid.UUID


class RedeliverNotice(Command[Notice]):
    """Whatever became of it: sent now, under the same id, with all of its tries before it."""

    subject = "cmd.tasks.v1.redeliver-notice"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    target = "notice"
    refusals = (
        NOTIFICATION_NOT_FOUND
        | NOTICE_NOT_FOUND
        | {"notification_paused": 409, "project_gone": 409, "too_many_notices": 429}
    )

    notification: uuid.UUID
    notice: uuid.UUID


class GetNotice(Query[Notice]):
    subject = "qry.tasks.v1.get-notice"
    grant = GrantScope.PROJECT
    refusals = NOTIFICATION_NOT_FOUND | NOTICE_NOT_FOUND

    notification: uuid.UUID
    notice: uuid.UUID


class NoticePage(Reply):
    items: tuple[Notice, ...]
    next_cursor: str | None = None


class ListNotices(Query[NoticePage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-notices"
    grant = GrantScope.PROJECT
    refusals = NOTIFICATION_NOT_FOUND

    notification: uuid.UUID
    status: NoticeStatus | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class NotificationChanged(Event):
    """Created, changed, paused or resumed; what it has sent stands in its history alone."""

    subject = "evt.*.tasks.notification.changed"

    notification: uuid.UUID
    name: str
    paused: bool
    reason: str | None = None
    version: int


class NotificationDeleted(Event):
    subject = "evt.*.tasks.notification.deleted"

    notification: uuid.UUID
