"""Members of projects and their roles."""

import uuid
from datetime import datetime
from typing import Literal

from pydantic import Field

from signalbox_common.contracts.auth.users import Username
from signalbox_common.contracts.base import Command, Empty, GrantScope, Query, Reply
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole


class Member(Reply):
    user_id: uuid.UUID
    username: str
    display_name: str
    kind: Literal["person", "service"]
    role: ProjectRole
    added_at: datetime


class MemberPage(Reply):
    items: tuple[Member, ...]
    next_cursor: str | None = None


class ListMembers(Query[MemberPage]):
    subject = "qry.auth.v1.list-members"
    grant = GrantScope.PROJECT
    area = "projects"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class AddMember(Command[Member]):
    """Nobody gives a role that is above their own."""

    subject = "cmd.auth.v1.add-member"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    target = "user_id"
    refusals = {"user_not_found": 404, "already_member": 409}

    user_id: uuid.UUID | None = None
    username: Username | None = None
    role: ProjectRole = ProjectRole.DEVELOPER


class ChangeMember(Command[Member]):
    subject = "cmd.auth.v1.change-member"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    target = "user_id"
    refusals = {"service_account": 403, "member_not_found": 404, "personal_project": 409, "last_owner": 409}

    user_id: uuid.UUID
    role: ProjectRole


class RemoveMember(Command[Empty]):
    """Anybody may leave, but the last owner; to remove others takes a maintainer."""

    subject = "cmd.auth.v1.remove-member"
    grant = GrantScope.PROJECT
    area = "projects"
    target = "user_id"
    refusals = {"member_not_found": 404, "personal_project": 409, "last_owner": 409}

    user_id: uuid.UUID


class MemberAdded(Event):
    subject = "evt.*.auth.member.added"

    user_id: uuid.UUID
    role: ProjectRole


class MemberChanged(Event):
    subject = "evt.*.auth.member.changed"

    user_id: uuid.UUID
    role: ProjectRole


class MemberRemoved(Event):
    subject = "evt.*.auth.member.removed"

    user_id: uuid.UUID
