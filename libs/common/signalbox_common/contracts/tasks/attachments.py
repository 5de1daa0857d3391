"""Files that people give to tasks."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from signalbox_common.contracts.base import Command, Empty, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks.base import TaskPlace

MAX_ATTACHMENT = 25 * 1024 * 1024
"""Bytes of one file."""
MAX_ATTACHMENTS = 20
"""Of one task."""
ATTACHMENTS = "/tmp/attachments"  # noqa: S108 - in a sandbox, which has its own
"""Where a run finds them in its sandbox."""
_LONGEST_NAME = 255
"""Bytes, as file systems have it."""
_ATTACHMENT_NOT_FOUND = {"attachment_not_found": 404}

PUT_ATTACHMENT = DataRoute("PUT", "/attachments/{upload}", "tasks.put-attachment")
"""`?name=&mediaType=`; under the id of an upload that is done, the same is answered with the same."""
READ_ATTACHMENT = DataRoute(
    "GET", "/attachments/{attachment}", "tasks.read-attachment", least_role=ProjectRole.VIEWER
)


def _one_part(name: str) -> str:
    if name in (".", "..") or "/" in name:
        raise ValueError("is no name of a file")
    if any(unicodedata.category(each) == "Cc" for each in name):
        raise ValueError("has a control character")
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"has more than {_LONGEST_NAME} bytes")
    return name


AttachmentName = Annotated[
    Text, StringConstraints(min_length=1, max_length=_LONGEST_NAME), AfterValidator(_one_part)
]
AttachmentIds = Annotated[tuple[uuid.UUID, ...], Field(max_length=MAX_ATTACHMENTS)]


class NewAttachment(Message):
    """What is said of a file beside its bytes."""

    name: AttachmentName
    media_type: Annotated[str, StringConstraints(max_length=255, pattern=r"^[!-~]+/[!-~]+$")]


class TaskAttachment(Message):
    """As a task has it."""

    id: uuid.UUID
    name: str
    size: int
    sha256: str


class Attachment(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    size: int
    sha256: str
    media_type: str
    """As it was given; it is served as bytes."""
    created_at: datetime


class GetAttachment(Query[Attachment]):
    subject = "qry.tasks.v1.get-attachment"
    grant = GrantScope.PROJECT
    refusals = _ATTACHMENT_NOT_FOUND

    attachment: uuid.UUID


class FindAttachment(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-attachment"
    grant = GrantScope.NONE
    refusals = _ATTACHMENT_NOT_FOUND

    attachment: uuid.UUID


class DeleteAttachment(Command[Empty]):
    """Of one that no task has; those of tasks go with them."""

    subject = "cmd.tasks.v1.delete-attachment"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "attachment"
    refusals = _ATTACHMENT_NOT_FOUND | {"attachment_in_use": 409}

    attachment: uuid.UUID
