"""A resource with everything that it refers to."""

from typing import Any

from signalbox_common.contracts.base import GrantScope, Query, Reply
from signalbox_common.contracts.catalog.resources import Metadata, ResourceKey


class HiddenReference(Reply):
    """Of a project that the asker may not read."""

    kind: str
    namespace: str
    name: str
    unreadable: bool = True


class BrokenReference(Reply):
    """Of a project that the asker may read: what was written, and is not there any more."""

    kind: str
    namespace: str
    name: str
    broken: bool = True


class ResourceTree(Reply):
    """A resource, and below each field that refers to another one, that one."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any]
    status: dict[str, Any]
    references: "dict[str, ResourceTree | HiddenReference | BrokenReference]"
    """By field of the spec: `ghostRef`, `members.0.botRef`."""


class ResolvedTree(Reply):
    root: ResourceTree
    version: str
    """Another one as soon as anything within has changed."""


class ResolveResource(ResourceKey, Query[ResolvedTree]):
    subject = "qry.catalog.v1.resolve"
    grant = GrantScope.PROJECT
    refusals = {"kind_not_found": 404, "resource_not_found": 404, "too_large": 413}
