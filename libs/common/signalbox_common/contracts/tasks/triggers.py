"""Triggers: tasks that are started by what others tell, over HTTP or as events from outside."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import VariableName
from signalbox_common.contracts.tasks.base import ONE_LINE, TaskPlace
from signalbox_common.contracts.tasks.tasks import NewTask

TRIGGER_NOT_FOUND = {"trigger_not_found": 404}
LARGEST_PAYLOAD = 256 * 1024
_GIVEN = {
    "bad_trigger": 422,
    "trigger_exists": 409,
    "project_gone": 409,
    "environment_not_found": 404,
    "agent_not_found": 404,
    "attachment_not_found": 422,
    "attachment_names_clash": 422,
}

TriggerName = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE)]
JsonPath = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^\$[^\x00-\x1f]*$")]
"""Into the payload (RFC 9535)."""
EventPattern = Annotated[
    Text,
    StringConstraints(
        max_length=200, pattern=r"^ext(\.(\*|[A-Za-z0-9_-]{1,64})){0,3}\.(\*|>|[A-Za-z0-9_-]{1,64})$"
    ),
]
"""Of types of events from outside, like `ext.ci.finished` or `ext.ci.>`."""
Matching = Annotated[
    dict[JsonPath, Annotated[tuple[Text, ...], Field(min_length=1, max_length=50)]], Field(max_length=20)
]
Mapped = Annotated[dict[VariableName, JsonPath], Field(max_length=100)]
PerMinute = Annotated[int, Field(ge=1, le=600)]
Digest = Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DeliveryId = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[ -~]+$")]


class Verification(StrEnum):
    """How it is known who has sent something to the address."""

    TOKEN = "token"  # noqa: S105 - a word for how it is checked
    """Whoever knows the address may."""
    GITHUB = "github"
    """`X-Hub-Signature-256`: an HMAC of the body, as GitHub, Gitea and Forgejo send it."""
    STANDARD = "standard"
    """`webhook-id`, `webhook-timestamp` and `webhook-signature`, as Standard Webhooks has them."""


class TriggerRules(Message):
    when: Matching = Field(default_factory=dict)
    """Only where each of these has one of its values."""
    parameters: Mapped = Field(default_factory=dict)
    """Parameters of the task, and where they stand in what was sent."""
    per_minute: PerMinute = 60


class TriggeredTask(NewTask):
    """What is created from a delivery."""


class Trigger(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    event: str | None = None
    """Types of events from outside; without it, it has an address of its own."""
    verify: Verification | None = None
    task: TriggeredTask
    when: Matching
    parameters: Mapped
    per_minute: int
    paused: bool
    reason: str | None = None
    """Why, where nobody has paused it."""
    last_task_id: uuid.UUID | None = None
    acts_for: uuid.UUID
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    version: int


class TriggerKey(Reply):
    """Shown once, and to nobody afterwards."""

    trigger: Trigger
    token: SecretStr | None = None
    """The end of its address."""
    secret: SecretStr | None = None
    """What is signed with."""


class CreateTrigger(Ask[TriggerKey]):
    """An ask, because its answer is a secret."""

    subject = "ask.tasks.v1.create-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    refusals = _GIVEN | {"too_many_triggers": 429}

    name: TriggerName
    event: EventPattern | None = None
    verify: Verification = Verification.TOKEN
    task: NewTask
    rules: TriggerRules = TriggerRules()

    @model_validator(mode="after")
    def _is_checked(self) -> Self:
        if self.event is not None and self.verify is not Verification.TOKEN:
            raise ValueError("an event from outside was checked when it came in: it has no `verify`")
        return self


class UpdateTrigger(Command[Trigger]):
    """What is not named stays; from now on it acts for whoever changes it."""

    subject = "cmd.tasks.v1.update-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "trigger"
    refusals = TRIGGER_NOT_FOUND | _GIVEN

    trigger: uuid.UUID
    name: TriggerName | None = None
    event: EventPattern | None = None
    task: NewTask | None = None
    when: Matching | None = None
    parameters: Mapped | None = None
    per_minute: PerMinute | None = None


class RotateTrigger(Ask[TriggerKey]):
    """A new address and a new secret; the old ones count no more."""

    subject = "ask.tasks.v1.rotate-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "trigger"
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID


class PauseTrigger(Command[Trigger]):
    subject = "cmd.tasks.v1.pause-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "trigger"
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID


class ResumeTrigger(Command[Trigger]):
    """For whoever says so."""

    subject = "cmd.tasks.v1.resume-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "trigger"
    refusals = TRIGGER_NOT_FOUND | {"project_gone": 409}

    trigger: uuid.UUID


class DeleteTrigger(Command[Empty]):
    """Its tasks stay, and go on."""

    subject = "cmd.tasks.v1.delete-trigger"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "trigger"
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID


class GetTrigger(Query[Trigger]):
    subject = "qry.tasks.v1.get-trigger"
    grant = GrantScope.PROJECT
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID


class FindTrigger(Query[TaskPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.tasks.v1.find-trigger"
    grant = GrantScope.NONE
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID


class TriggerPage(Reply):
    items: tuple[Trigger, ...]
    next_cursor: str | None = None


class ListTriggers(Query[TriggerPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-triggers"
    grant = GrantScope.PROJECT

    q: Search | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


# -- what is sent to them ----------------------------------------------------------------------------------


class TriggerCall(Reply):
    """Of a trigger: what was sent, and what became of it."""

    id: int
    delivery: str | None = None
    """What its sender calls it."""
    digest: str
    """SHA-256 of the payload, which is not kept."""
    size: int
    outcome: Literal["started", "ignored", "failed"]
    reason: str | None = None
    """Why no task was created: `no_match`, or the code of what stood against it."""
    detail: str | None = None
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    called_at: datetime


_CAUSED_BY_ANYBODY = TRIGGER_NOT_FOUND | {
    "bad_signature": 401,
    "too_late": 401,
    "bad_payload": 422,
    "too_many_calls": 429,
}


class CallTrigger(Ask[TriggerCall]):
    """From whoever knows its address: nobody is known to ask. An ask, because a payload may hold secrets, and
    is stored nowhere. The same delivery once more is answered as it was."""

    subject = "ask.tasks.v1.call-trigger"
    grant = GrantScope.NONE
    once = False  # a delivery is known by more than its key
    unrecorded = frozenset(_CAUSED_BY_ANYBODY) | {"trigger_paused"}
    refusals = _CAUSED_BY_ANYBODY | {
        "trigger_paused": 409,
        "project_gone": 409,
        "disk_full": 507,
    }

    token: SecretStr
    payload: SecretStr
    """Base64."""
    delivery: DeliveryId | None = None
    signature: Annotated[Text, StringConstraints(max_length=2000)] | None = None
    sent_at: Annotated[Text, StringConstraints(max_length=20)] | None = None
    """Seconds since 1970, as the sender has signed them."""


class TriggerCallPage(Reply):
    items: tuple[TriggerCall, ...]
    next_cursor: str | None = None


class ListCalls(Query[TriggerCallPage]):
    """Newest first."""

    subject = "qry.tasks.v1.list-calls"
    grant = GrantScope.PROJECT
    refusals = TRIGGER_NOT_FOUND

    trigger: uuid.UUID
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class TriggerChanged(Event):
    """Created, changed, paused or resumed; what it starts is told of its runs."""

    subject = "evt.*.tasks.trigger.changed"

    trigger: uuid.UUID
    name: str
    paused: bool
    reason: str | None = None
    version: int


class TriggerDeleted(Event):
    subject = "evt.*.tasks.trigger.deleted"

    trigger: uuid.UUID
