"""Resources as they are stored, and what a write makes of them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from signalbox_catalog.domain.diffs import Change, diff
from signalbox_catalog.domain.kinds import Kind, Reference
from signalbox_catalog.domain.masks import MASK
from signalbox_manifests import Document, Flaw

AVAILABLE: Mapping[str, Any] = {"state": "Available"}
"""Of a resource by itself: what becomes of others is no change of it, and stands in its tree."""
BROKEN = "BrokenReference"
"""The state in a tree of what refers to something that is not there any more."""


@dataclass(frozen=True)
class StoredSecret:
    """A key that was taken out of a spec."""

    bundle: str
    """What it is called in the secret store, together with the others of the same write."""
    mark: str
    """The same for the same key at the same place, and tells nothing else about it."""


Secrets = Mapping[str, StoredSecret]
"""By their places in the spec, as JSON pointers."""


@dataclass(frozen=True)
class Place:
    """A project that resources are in, and what it is called as a namespace."""

    project_id: uuid.UUID
    namespace: str


@dataclass(frozen=True)
class Key:
    """What makes a living resource the only one of its kind and name."""

    project_id: uuid.UUID
    kind: str
    name: str


@dataclass(frozen=True)
class Resource:
    uid: uuid.UUID
    place: Place
    kind: str
    name: str
    display_name: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    secrets: Secrets
    status: Mapping[str, Any]
    generation: int
    version: int
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def key(self) -> Key:
        return Key(self.place.project_id, self.kind, self.name)


@dataclass(frozen=True)
class Manifest:
    """What somebody wants a resource to be."""

    kind: Kind
    name: str
    namespace: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    display_name: str | None
    spec: Mapping[str, Any]
    """In its canonical form, with `***` in the places of keys."""
    found: Mapping[str, Any] = field(repr=False)
    """The keys that were sent, by their places."""
    kept: frozenset[str]
    """Places of keys that shall stay as they are."""
    references: tuple[Reference, ...]
    version: str | None = None
    """What it is meant for: another one may not be changed by it."""
    short: tuple[str, ...] = ()
    """The short forms that it was written with."""
    may_be_new: bool = True
    """Whether its name is one that resources get here; those from elsewhere may have others."""
    source: Document | None = field(default=None, repr=False)
    """Which of many documents it is."""
    warnings: tuple[Flaw, ...] = ()
    """What of it is probably not what was meant."""

    @property
    def document(self) -> int | None:
        return self.source.number if self.source is not None else None

    @property
    def line(self) -> int | None:
        return self.line_of("")

    def line_of(self, field: str) -> int | None:
        """The line of a field, written with dots; the first one of the document where that has none."""
        if self.source is None:
            return None
        parts = (int(part) if part.isdecimal() else part for part in field.split(".") if part)
        return self.source.line_of(tuple(parts))


SHORT_FORMS = "shortForms"
"""In the status: those that it was ever sent with, which are answered beside what they stand for."""


class ChangeKind(StrEnum):
    """What a revision of a resource is."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"


@dataclass(frozen=True)
class Revision:
    """A resource as one change has left it."""

    change: ChangeKind
    resource: Resource
    labels_before: Mapping[str, str] | None
    by: uuid.UUID
    at: datetime


def said_by(resource: Resource) -> dict[str, Any]:
    """All that a manifest can say, to be compared."""
    return {
        "metadata": {
            "displayName": resource.display_name,
            "labels": dict(resource.labels),
            "annotations": dict(resource.annotations),
        },
        "spec": dict(resource.spec),
    }


def differs(before: Resource, after: Resource) -> bool:
    return bool(diff(said_by(before), said_by(after))) or before.secrets != after.secrets


def spec_differs(before: Resource, after: Resource) -> bool:
    return bool(diff(dict(before.spec), dict(after.spec))) or before.secrets != after.secrets


def other_keys(before: Resource, after: Resource) -> list[Change]:
    """Where a key is another one: all that can be shown of that."""
    old, new = before.secrets, after.secrets
    return [
        Change("replace", f"/spec{pointer}", MASK, MASK)
        for pointer in sorted(old.keys() & new.keys())
        if old[pointer].mark != new[pointer].mark
    ]


def updated(current: Resource, manifest: Manifest, secrets: Secrets, now: datetime) -> Resource:
    """What the manifest makes of it; its version comes when it is written."""
    after = replace(
        current,
        display_name=manifest.display_name,
        labels=manifest.labels,
        annotations=manifest.annotations,
        spec=manifest.spec,
        secrets=secrets,
        updated_at=now,
    )
    return replace(after, generation=current.generation + 1) if spec_differs(current, after) else after
