"""Quotas: what one project may have and use."""

import uuid
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from signalbox_common.contracts.base import Command, Message, Query, Reply
from signalbox_common.contracts.events import Event

_MOST = 2**53
Bound = Annotated[int, Field(ge=0, le=_MOST)]
Cost = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]


class QuotaName(StrEnum):
    """As they are called wherever one can read them."""

    LIVE_SANDBOXES = "liveSandboxes"
    QUEUED_TASKS = "queuedTasks"
    RUNNING_TASKS = "runningTasks"
    STORAGE_BYTES = "storageBytes"
    TOKENS_PER_MONTH = "tokensPerMonth"
    COST_PER_MONTH = "costPerMonth"
    RESOURCES = "resources"
    CATALOG_BYTES = "catalogBytes"
    PACKAGE_BYTES = "packageBytes"
    API_TOKENS = "apiTokens"


class QuotaLimits(Message):
    """Each is a number, or null where there is no bound."""

    live_sandboxes: Bound | None = None
    """Sandboxes that have not ended, paused ones included."""
    queued_tasks: Bound | None = None
    """Runs that wait for their turn."""
    running_tasks: Bound | None = None
    """Runs that have begun and have not ended; more wait."""
    storage_bytes: Bound | None = None
    """Of attachments of tasks, repositories, and templates of sandboxes."""
    tokens_per_month: Bound | None = None
    """In and out together, of the runs that have ended in this month (UTC)."""
    cost_per_month: Cost | None = None
    resources: Bound | None = None
    """Of the catalog, of all kinds; deleted ones not counted."""
    catalog_bytes: Bound | None = None
    """Of all states of resources that are kept, deleted ones included."""
    package_bytes: Bound | None = None
    """Of packages of skills, those of deleted ones included until they are gone for good."""
    api_tokens: Bound | None = None
    """Of its service accounts, as far as they can be used; and as many service accounts."""

    def changed(self, given: "QuotaLimits", names: tuple[QuotaName, ...]) -> "QuotaLimits":
        """With those of the names as they are there."""
        fields = {FIELDS[name]: getattr(given, FIELDS[name]) for name in names}
        return self.model_copy(update=fields)


FIELDS = {QuotaName(field.alias or ""): name for name, field in QuotaLimits.model_fields.items()}
"""What each is called in Python."""


class Quotas(Reply):
    project_id: uuid.UUID
    limits: QuotaLimits
    given: tuple[QuotaName, ...] = ()
    """Those that were set for this project; the others are as the installation has them."""
    version: int = 0


class GetQuotas(Query[Quotas]):
    """For owners of the project, and for administrators."""

    subject = "qry.auth.v1.get-quotas"
    area = "projects"
    refusals = {"project_not_found": 404, "role_too_low": 403}

    project: uuid.UUID


class SetQuotas(Command[Quotas]):
    """In the place of those that were set before."""

    subject = "cmd.auth.v1.set-quotas"
    area = "projects"
    admin = True
    target = "project"
    refusals = {"project_not_found": 404}

    project: uuid.UUID
    limits: QuotaLimits = QuotaLimits()
    given: Annotated[tuple[QuotaName, ...], Field(max_length=len(QuotaName))] = ()
    """Which of these count; the others are as the installation has them."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.given)) < len(self.given):
            raise ValueError("`given` names something twice")
        return self


class QuotasChanged(Event):
    """What has no greater version than the last one is old news. For those who hold projects to them, and
    not for all members of the project."""

    subject = "evt.*.auth.quotas.changed"
    of_platform = True

    project: uuid.UUID
    limits: QuotaLimits
    given: tuple[QuotaName, ...]
    version: int
