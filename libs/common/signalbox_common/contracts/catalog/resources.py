"""Resources of every kind: how they are written, read, deleted and brought back."""

import math
import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Secret, StringConstraints

from signalbox_common.contracts.base import (
    Ask,
    Command,
    Empty,
    FieldError,
    GrantScope,
    Message,
    Query,
    Reply,
    Text,
    printable,
)
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole

Plural = Annotated[Text, StringConstraints(min_length=1, max_length=40)]
ResourceName = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
LabelSelector = Annotated[Text, StringConstraints(max_length=1000)]
Version = Annotated[Text, StringConstraints(max_length=20)]
"""What a resource's `resourceVersion` was; a number, though nobody should calculate with it."""
MAX_DEPTH = 64


def _sound(document: dict[str, Any]) -> dict[str, Any]:
    """Refuses what could not be stored: it may come from anybody."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            match value:
                case dict():
                    for key in value:
                        printable(key)
                    below += value.values()
                case list():
                    below += value
                case str():
                    printable(value)
                case float() if not math.isfinite(value):
                    raise ValueError("numbers must be finite")
        if not below:
            return document
        level = below
    raise ValueError(f"this is nested more than {MAX_DEPTH} levels deep")


JsonDocument = Annotated[dict[str, Any], AfterValidator(_sound)]
Manifest = Secret[JsonDocument]
"""A resource as its user writes it; it may hold keys, so it never enters a stream."""


class Metadata(Reply):
    name: str
    namespace: str
    """The slug of the project."""
    uid: uuid.UUID
    display_name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    generation: int
    """Grows whenever the spec changes."""
    resource_version: str
    """Another one after every change; changes of one namespace have them in order."""


class Resource(Reply):
    """Keys and tokens within the spec are in the secret store, and `***` here."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any]
    status: dict[str, Any]

    @property
    def id(self) -> str:
        """What operations and the audit log call it."""
        return f"{self.kind}/{self.metadata.name}"


def _none(warnings: tuple[FieldError, ...]) -> bool:
    return not warnings


class WrittenResource(Resource):
    warnings: tuple[FieldError, ...] = Field(default=(), exclude_if=_none)
    """What of it is probably misspelt, and was kept as it is; not said where there is nothing."""


class ResourceKey(Message):
    """Names the resource that a request is about."""

    plural: Plural
    name: ResourceName

    @property
    def about(self) -> str:
        """For the audit log."""
        return f"{self.plural}/{self.name}"


class CreateResource(Ask[WrittenResource]):
    """Refused where a resource of that name lives already."""

    subject = "ask.catalog.v1.create"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "plural"
    refusals = {"kind_not_found": 404, "already_exists": 409, "unknown_field": 422, "quota_exceeded": 429}

    plural: Plural
    manifest: Manifest
    strict: bool = False
    """Refuses what would be a warning."""


class ReplaceResource(ResourceKey, Ask[WrittenResource]):
    """What the manifest does not say is not there afterwards; `***` leaves a key as it is."""

    subject = "ask.catalog.v1.replace"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "about"
    refusals = {
        "kind_not_found": 404,
        "resource_not_found": 404,
        "version_conflict": 409,
        "unknown_field": 422,
        "quota_exceeded": 429,
    }

    manifest: Manifest
    expected_version: Version | None = None
    strict: bool = False


class PatchResource(ResourceKey, Ask[WrittenResource]):
    """A JSON merge patch (RFC 7396) of the resource as it is answered."""

    subject = "ask.catalog.v1.patch"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "about"
    refusals = {
        "kind_not_found": 404,
        "resource_not_found": 404,
        "version_conflict": 409,
        "unknown_field": 422,
        "quota_exceeded": 429,
    }

    patch: Manifest
    expected_version: Version | None = None
    strict: bool = False


class DeleteResource(ResourceKey, Command[Empty]):
    """Can be restored for a while. Refused while its project refers to it, unless that goes with it."""

    subject = "cmd.catalog.v1.delete"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "about"
    refusals = {
        "kind_not_found": 404,
        "resource_not_found": 404,
        "version_conflict": 409,
        "still_referenced": 409,
    }

    cascade: bool = False
    expected_version: Version | None = None


class RestoreResource(ResourceKey, Command[Resource]):
    """Brings back the one of that name that was deleted last."""

    subject = "cmd.catalog.v1.restore"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "about"
    refusals = {"kind_not_found": 404, "nothing_deleted": 404, "already_exists": 409, "quota_exceeded": 429}

    plural: Plural
    name: ResourceName


class GetResource(ResourceKey, Query[Resource]):
    subject = "qry.catalog.v1.get"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404, "resource_not_found": 404}


class ResourcePage(Reply):
    items: tuple[Resource, ...]
    next_cursor: str | None = None
    resource_version: str
    """To watch from: whatever is not in this page yet comes after it."""


class ListResources(Query[ResourcePage]):
    """By name; the deleted ones newest first."""

    subject = "qry.catalog.v1.list"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404}

    plural: Plural
    limit: int = Field(default=100, ge=1, le=500)
    cursor: Cursor | None = None
    label_selector: LabelSelector | None = None
    q: Search | None = None
    """A part of the name."""
    deleted: bool = False


class ResourceEvent(Event):
    """What the events of all resources say; not the spec, which may be long."""

    kind: str
    namespace: str
    name: str
    uid: uuid.UUID
    generation: int
    resource_version: str


class ResourceCreated(ResourceEvent):
    subject = "evt.*.catalog.resource.created"


class ResourceUpdated(ResourceEvent):
    subject = "evt.*.catalog.resource.updated"


class ResourceDeleted(ResourceEvent):
    subject = "evt.*.catalog.resource.deleted"


class ResourceRestored(ResourceEvent):
    subject = "evt.*.catalog.resource.restored"


class ResourcePurged(ResourceEvent):
    """Deleted long ago, and gone for good."""

    subject = "evt.*.catalog.resource.purged"
