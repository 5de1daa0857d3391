"""What a resource was before."""

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from signalbox_common.contracts.base import Command, GrantScope, Query, Reply
from signalbox_common.contracts.catalog.resources import Resource, ResourceKey, Version
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole


class Change(Reply):
    """One difference between two documents."""

    op: Literal["add", "remove", "replace"]
    path: str
    """A JSON pointer (RFC 6901)."""
    old: Any = None
    new: Any = None


class Generation(Reply):
    generation: int
    resource_version: str
    changed_by: uuid.UUID
    changed_at: datetime


class GenerationPage(Reply):
    items: tuple[Generation, ...]
    next_cursor: str | None = None


class ListGenerations(ResourceKey, Query[GenerationPage]):
    """Newest first."""

    subject = "qry.catalog.v1.generations"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404, "resource_not_found": 404}

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class GenerationDetail(Reply):
    resource: Resource
    """As it was at the end of that generation."""
    changed_by: uuid.UUID
    changed_at: datetime
    against: int | None = None
    diff: tuple[Change, ...]
    """From the generation `against`, by default the one before, to this one."""


class GetGeneration(ResourceKey, Query[GenerationDetail]):
    subject = "qry.catalog.v1.generation"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404, "resource_not_found": 404, "generation_not_found": 404}

    generation: int = Field(ge=1)
    against: int | None = Field(default=None, ge=1)


class RollBackResource(ResourceKey, Command[Resource]):
    """The spec of an older generation becomes a new one."""

    subject = "cmd.catalog.v1.roll-back"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "about"
    refusals = {
        "kind_not_found": 404,
        "resource_not_found": 404,
        "generation_not_found": 404,
        "version_conflict": 409,
        "quota_exceeded": 429,
    }

    generation: int = Field(ge=1)
    expected_version: Version | None = None
