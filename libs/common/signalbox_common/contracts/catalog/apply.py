"""Many documents at once, all or nothing."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr

from signalbox_common.contracts.auth import Namespace
from signalbox_common.contracts.base import Ask, FieldError, GrantScope, Reply
from signalbox_common.contracts.catalog.history import Change
from signalbox_common.contracts.catalog.packages import PackagedSkill
from signalbox_common.contracts.catalog.resources import LabelSelector

MAX_TEXT = 1024 * 1024
"""Bytes of all documents together."""
MAX_PACKAGES = 100
MAX_BUNDLE = 32 * 1024 * 1024
"""Bytes of documents and packages together."""


class ApplyAction(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    SKIPPED = "skipped"


class ApplyResultItem(Reply):
    """What became of one document."""

    kind: str
    namespace: str | None = None
    name: str | None = None
    action: ApplyAction
    document: int | None = None
    line: int | None = None
    generation: int | None = None
    resource_version: str | None = None
    diff: tuple[Change, ...] | None = None
    """Of what is created, updated or deleted; keys show as `***`."""
    warning: str | None = None
    warnings: tuple[FieldError, ...] = ()
    """What of it is probably misspelt, and was kept as it is."""


class ApplyResult(Reply):
    """In the order of the documents; what was pruned comes last."""

    items: tuple[ApplyResultItem, ...]
    dry_run: bool = False


class Apply(Ask[ApplyResult]):
    """The documents may be of several namespaces, so the grant is the person's own."""

    subject = "ask.catalog.v1.apply"
    patience = 30.0
    grant = GrantScope.PERSON
    refusals = {
        "role_too_low": 403,
        "project_not_found": 404,
        "upload_not_found": 404,
        "conflict": 409,
        "still_referenced": 409,
        "unknown_field": 422,
        "quota_exceeded": 429,
    }

    text: Annotated[SecretStr, Field(max_length=MAX_TEXT)]
    namespace: Namespace = "default"
    """Of documents that do not name one."""
    dry_run: bool = False
    prune: bool = False
    """Deletes what the selector finds in the namespaces of the documents and what is not among them."""
    label_selector: LabelSelector | None = None
    into: Namespace | None = None
    """Instead of the personal project, where documents name no namespace, or `default`."""
    packages: Annotated[tuple[PackagedSkill, ...], Field(max_length=MAX_PACKAGES)] = ()
    """Of skills in the namespace of documents that do not name one; a skill without a document is made."""
    strict: bool = False
    """Refuses what would be a warning."""
