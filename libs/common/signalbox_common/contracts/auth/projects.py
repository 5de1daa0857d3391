"""Projects: what owns everything else."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Command, Empty, GrantScope, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole

ProjectName = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Slug = Annotated[Text, StringConstraints(max_length=63, pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Description = Annotated[Text, StringConstraints(max_length=4000)]


def version_of(updated_at: datetime) -> int:
    """Each change has a time of its own, to the microsecond."""
    return (updated_at - _EPOCH) // timedelta(microseconds=1)


class Project(Reply):
    id: uuid.UUID
    name: str
    slug: str
    """The namespace of its catalog resources; it never changes."""
    description: str
    role: ProjectRole
    created_at: datetime
    updated_at: datetime
    personal: bool = False

    @property
    def version(self) -> int:
        """What an `ETag` is made of."""
        return version_of(self.updated_at)


class CreateProject(Command[Project]):
    subject = "cmd.auth.v1.create-project"
    area = "projects"
    target = "name"
    refusals = {"service_account": 403, "slug_taken": 409, "quota_exceeded": 429}

    name: ProjectName
    slug: Slug | None = None
    description: Description = ""


class ProjectPage(Reply):
    items: tuple[Project, ...]
    next_cursor: str | None = None


class ListProjects(Query[ProjectPage]):
    subject = "qry.auth.v1.list-projects"
    area = "projects"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None
    q: Search | None = None
    deleted: bool = False
    """The deleted ones that the asker may restore, instead of the others."""


class GetProject(Query[Project]):
    subject = "qry.auth.v1.get-project"
    grant = GrantScope.PROJECT
    area = "projects"


class UpdateProject(Command[Project]):
    subject = "cmd.auth.v1.update-project"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    refusals = {"precondition_failed": 412, "nothing_to_change": 422}

    name: ProjectName | None = None
    description: Description | None = None
    expected_version: int | None = None
    """From `If-Match`; refused with 412 where somebody else was faster."""


class DeleteProject(Command[Empty]):
    """Nobody reaches it any more, until an owner restores it."""

    subject = "cmd.auth.v1.delete-project"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.OWNER
    area = "projects"
    refusals = {"personal_project": 409, "precondition_failed": 412}

    expected_version: int | None = None


class RestoreProject(Command[Project]):
    subject = "cmd.auth.v1.restore-project"
    area = "projects"
    target = "project_id"
    refusals = {"project_not_found": 404}

    project_id: uuid.UUID


class ProjectCreated(Event):
    subject = "evt.*.auth.project.created"

    id: uuid.UUID
    name: str
    slug: str
    created_by: uuid.UUID


class ProjectUpdated(Event):
    subject = "evt.*.auth.project.updated"

    id: uuid.UUID
    name: str
    slug: str


class ProjectDeleted(Event):
    subject = "evt.*.auth.project.deleted"

    id: uuid.UUID
    slug: str


class ProjectRestored(Event):
    subject = "evt.*.auth.project.restored"

    id: uuid.UUID
    slug: str
