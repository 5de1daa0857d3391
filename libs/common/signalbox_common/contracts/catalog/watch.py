"""What has changed since then."""

from enum import StrEnum

from pydantic import Field

from signalbox_common.contracts.base import GrantScope, Query, Reply
from signalbox_common.contracts.catalog.resources import LabelSelector, Plural, Resource, Version


class ChangeType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchedChange(Reply):
    """`ADDED` also where a resource begins to fit the selector, `DELETED` also where it ends to."""

    type: ChangeType
    object: Resource


class ChangePage(Reply):
    items: tuple[WatchedChange, ...]
    resource_version: str
    """Where to go on."""
    complete: bool
    """Whether these are all that there are by now."""


class ListChanges(Query[ChangePage]):
    """In the order in which they happened; 410 where what came after is not kept any more."""

    subject = "qry.catalog.v1.changes"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404, "expired": 410}

    plural: Plural
    after: Version
    limit: int = Field(default=100, ge=1, le=500)
    label_selector: LabelSelector | None = None
