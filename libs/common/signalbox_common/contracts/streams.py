"""The streams and durable consumers of the bus, as data; provisioning makes them so."""

from dataclasses import dataclass, field
from typing import Any

from signalbox_common.contracts.auth import (
    Delegate,
    DelegatedGrant,
    EndDelegation,
    GetFirstAdministrator,
    GetNamespaces,
    ProjectDeleted,
    ProjectRestored,
    QuotasChanged,
    RenewDelegation,
)
from signalbox_common.contracts.base import Command, Request, consumer_of, contracts_of
from signalbox_common.contracts.catalog import (
    ResolveResource,
    ResourceCreated,
    ResourceDeleted,
    ResourceRestored,
    RevealKeys,
)
from signalbox_common.contracts.events import AuditRecorded, Event, OutsideEvent, StorageMeasured
from signalbox_common.contracts.git import (
    CheckoutChanged,
    Deliver,
    DeliveryChanged,
    GetCheckout,
    GetDelivery,
    LocateGit,
    Prepare,
)
from signalbox_common.contracts.operations import GetOperation
from signalbox_common.contracts.sandbox import (
    CreateSandbox,
    DestroySandbox,
    GetSandbox,
    LocateSandbox,
    PauseSandbox,
    ResumeSandbox,
    SandboxChanged,
    SetSandboxDeadline,
    SetSandboxNetwork,
)
from signalbox_common.contracts.tasks import RunEnded, RunStopRequested
from signalbox_common.programs import OWNERS

DAY = 24 * 3600.0
MIB = 1024 * 1024

GENERATION = 20
"""Grows whenever provisioning changes; an older program refuses to provision a newer installation."""

KEY_BUCKET = "grant-keys"
AUDIT_BUCKET = "audit-head"
PACKAGE_BUCKET = "packages"

HISTORY = 16
"""Entries of one name that a bucket keeps: what should not be there does not push out what should."""

MAX_PAYLOAD = 2 * MIB


@dataclass(frozen=True)
class Stream:
    """One JetStream stream. None allows message schedules, and only buckets of files rollup and purge."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age: float = 0
    work_queue: bool = False
    discard_new: bool = False
    duplicate_window: float = 120.0
    allow_delete: bool = False
    allow_ttl: bool = False
    object_store: bool = False
    """Whether it is a bucket of files: replacing and deleting those needs rollup and purge."""
    max_per_subject: int = -1
    copies: str | None = None
    """Below which subject the server repeats what it has stored, for a `StreamTail`."""
    mirror_of: str | None = None
    """The stream that it is a copy of, with the same numbers, as far as messages are on its subjects."""
    description: str = ""


@dataclass(frozen=True)
class Consumer:
    """One durable consumer with exactly one subject; a pull consumer, unless it says where to send."""

    stream: str
    name: str
    subject: str
    ack_wait: float = 5.0
    max_ack_pending: int = 20_000
    sends_to: str | None = None
    """All that are subscribed there get all messages, which nobody acknowledges, and a heartbeat."""
    heartbeat: float | None = None


COMMANDS = Stream(
    "COMMANDS",
    ("cmd.>",),
    max_bytes=1024 * MIB,
    work_queue=True,
    discard_new=True,
    allow_ttl=True,
    description="Commands, kept until their owner has handled them",
)
STORE_PROBE = "cmd.probe"
"""What shows that the stream stores: it has no consumer, and lives for a second."""
EVENTS = Stream(
    "EVENTS",
    ("evt.>",),
    max_bytes=4096 * MIB,
    max_age=7 * DAY,
    duplicate_window=600.0,
    allow_ttl=True,
    copies="live.evt",
    description="What happened, and how it goes on",
)
EXTERNAL = Stream(
    "EXTERNAL",
    ("ext.>",),
    max_bytes=512 * MIB,
    max_age=7 * DAY,
    duplicate_window=0.1,
    description="What services outside publish, before it is checked",
)
BY_PUBLISHERS, BY_USERS = "ext.publishers", "ext.users"
"""Where in it comes what a publisher has sent to `ext.<project>.<type>` from its own account, and what the
gateway took from a user. Who it was and the project follow: `ext.publishers.<name>.<project>.<type>`."""
DEAD_LETTERS = Stream(
    "DEAD_LETTERS",
    ("dlq.>",),
    max_bytes=1024 * MIB,
    max_age=30 * DAY,
    duplicate_window=600.0,
    allow_delete=True,
    description="What could not be handled, with why, how often and where",
)
GRANT_KEYS = Stream(
    f"KV_{KEY_BUCKET}",
    (f"$KV.{KEY_BUCKET}.>",),
    max_bytes=16 * MIB,
    max_per_subject=HISTORY,
    description="Public keys that grants and access tokens are checked with; only auth writes here",
)
REVOCATIONS = Stream(
    "REVOCATIONS",
    ("rvk.>",),
    max_bytes=64 * MIB,
    max_age=3600.0,
    duplicate_window=600.0,
    description="What is not good any more; kept longer than what was revoked could have lived",
)
AUDIT_HEAD = Stream(
    f"KV_{AUDIT_BUCKET}",
    (f"$KV.{AUDIT_BUCKET}.>",),
    max_bytes=MIB,
    max_per_subject=HISTORY,
    description="How far the audit log has come, noted where nobody is who can cut it; only auth writes here",
)
PACKAGES = Stream(
    f"OBJ_{PACKAGE_BUCKET}",
    (f"$O.{PACKAGE_BUCKET}.C.>", f"$O.{PACKAGE_BUCKET}.M.>"),
    max_bytes=2048 * MIB,
    discard_new=True,
    object_store=True,
    description="Packages of skills; the gateway puts them here, the catalog says which are good",
)
STREAMS = (COMMANDS, EVENTS, EXTERNAL, DEAD_LETTERS, GRANT_KEYS, REVOCATIONS, AUDIT_HEAD, PACKAGES)


def stream_of(subject: str) -> Stream:
    """Where a fact is stored."""
    return REVOCATIONS if subject.startswith("rvk.") else EVENTS


@dataclass(frozen=True)
class FactConsumer:
    """A service's interest in a fact of another service."""

    service: str
    handler: str
    event: type[Event]

    @property
    def name(self) -> str:
        return f"{self.service}-on-{self.handler}"

    @property
    def subject(self) -> str:
        return self.event.filter_subject()


AUDIT = FactConsumer("auth", "audit", AuditRecorded)
PROJECT_GONE = FactConsumer("catalog", "project-gone", ProjectDeleted)
PROJECT_BACK = FactConsumer("catalog", "project-back", ProjectRestored)
SANDBOXES_GONE = FactConsumer("sandbox", "project-gone", ProjectDeleted)
SANDBOXES_BACK = FactConsumer("sandbox", "project-back", ProjectRestored)
SANDBOXES_STOP = FactConsumer("sandbox", "run-stop", RunStopRequested)
SANDBOXES_END = FactConsumer("sandbox", "run-ended", RunEnded)
REPOSITORIES_GONE = FactConsumer("git", "project-gone", ProjectDeleted)
REPOSITORIES_BACK = FactConsumer("git", "project-back", ProjectRestored)
CHECKOUTS_HELD = FactConsumer("git", "sandbox-changed", SandboxChanged)
CHECKOUTS_STOP = FactConsumer("git", "run-stop", RunStopRequested)
CHECKOUTS_END = FactConsumer("git", "run-ended", RunEnded)
SANDBOXES_BEGIN = FactConsumer("sandbox", "checkout-changed", CheckoutChanged)
RUN_CHECKOUTS = FactConsumer("tasks", "checkout-changed", CheckoutChanged)
RUN_SANDBOXES = FactConsumer("tasks", "sandbox-changed", SandboxChanged)
RUN_DELIVERIES = FactConsumer("tasks", "delivery-changed", DeliveryChanged)
RUNS_GONE = FactConsumer("tasks", "project-gone", ProjectDeleted)
RUNS_BACK = FactConsumer("tasks", "project-back", ProjectRestored)
AGENTS_FOUND = FactConsumer("tasks", "resource-created", ResourceCreated)
AGENTS_BACK = FactConsumer("tasks", "resource-restored", ResourceRestored)
AGENTS_LOST = FactConsumer("tasks", "resource-deleted", ResourceDeleted)
TRIGGERS_TOLD = FactConsumer("tasks", "outside-event", OutsideEvent)
RUN_QUOTAS = FactConsumer("tasks", "quotas-changed", QuotasChanged)
SANDBOX_QUOTAS = FactConsumer("sandbox", "quotas-changed", QuotasChanged)
REPOSITORY_QUOTAS = FactConsumer("git", "quotas-changed", QuotasChanged)
CATALOG_QUOTAS = FactConsumer("catalog", "quotas-changed", QuotasChanged)
RUN_STORAGE = FactConsumer("tasks", "storage-measured", StorageMeasured)
SANDBOX_STORAGE = FactConsumer("sandbox", "storage-measured", StorageMeasured)
REPOSITORY_STORAGE = FactConsumer("git", "storage-measured", StorageMeasured)
FACT_CONSUMERS: tuple[FactConsumer, ...] = (
    AUDIT,
    PROJECT_GONE,
    PROJECT_BACK,
    SANDBOXES_GONE,
    SANDBOXES_BACK,
    SANDBOXES_STOP,
    SANDBOXES_END,
    REPOSITORIES_GONE,
    REPOSITORIES_BACK,
    CHECKOUTS_HELD,
    CHECKOUTS_STOP,
    CHECKOUTS_END,
    SANDBOXES_BEGIN,
    RUN_CHECKOUTS,
    RUN_SANDBOXES,
    RUN_DELIVERIES,
    RUNS_GONE,
    RUNS_BACK,
    AGENTS_FOUND,
    AGENTS_BACK,
    AGENTS_LOST,
    TRIGGERS_TOLD,
    RUN_QUOTAS,
    SANDBOX_QUOTAS,
    REPOSITORY_QUOTAS,
    CATALOG_QUOTAS,
    RUN_STORAGE,
    SANDBOX_STORAGE,
    REPOSITORY_STORAGE,
)
"""Who reads whose facts; a row here becomes a durable consumer and the permissions for it."""


REVOKING = Consumer(
    REVOCATIONS.name, "revoking", REVOCATIONS.subjects[0], sends_to="live.rvk", heartbeat=0.25
)
"""Tells every program what was revoked, and that there is nothing to tell."""

INGEST = Consumer(EXTERNAL.name, "fanout-ingest", EXTERNAL.subjects[0], max_ack_pending=128)
"""Checks what others publish, and makes events of it: one after the other, so that few are enough at once."""
INGEST_LETTERS = f"dlq.{INGEST.name}"
"""Where what is no event goes; below it follows the subject that it came on."""

_DELEGATING = (Delegate, DelegatedGrant, RenewDelegation, EndDelegation)
_SANDBOXES = (
    *(CreateSandbox, GetSandbox, LocateSandbox, PauseSandbox, ResumeSandbox, DestroySandbox),
    *(SetSandboxDeadline, SetSandboxNetwork),
)
SERVICE_CALLS: tuple[tuple[str, type[Request[Any]]], ...] = (
    ("catalog", GetNamespaces),
    ("git", GetFirstAdministrator),
    *((service, contract) for service in ("tasks", "sandbox", "git") for contract in _DELEGATING),
    ("tasks", ResolveResource),
    ("tasks", RevealKeys),
    *(
        ("tasks", contract)
        for contract in (Prepare, GetCheckout, Deliver, GetDelivery, LocateGit, *_SANDBOXES)
    ),
    ("tasks", GetOperation),
)
"""Which service asks, or commands, which other one; everything else is asked by the gateway."""


def letters_of(service: str, facts: tuple[FactConsumer, ...] = FACT_CONSUMERS) -> Stream:
    """A service's own dead letters: the only ones that it can read."""
    handlers = (f"dlq.{fact.name}.>" for fact in facts if fact.service == service)
    return Stream(
        f"{DEAD_LETTERS.name}_{service}",
        (f"dlq.cmd.{service}.>", *handlers),
        max_bytes=DEAD_LETTERS.max_bytes,
        max_age=DEAD_LETTERS.max_age,
        allow_delete=True,
        mirror_of=DEAD_LETTERS.name,
        description=f"The dead letters of {service}, for it to read",
    )


def command_subjects() -> tuple[str, ...]:
    """Every command subject; a contract that each owner answers gives one for each of them."""
    subjects = []
    for command in contracts_of(Command):
        shared = "*" in command.subject
        subjects += [command.subject_for(owner) for owner in OWNERS] if shared else [command.subject]
    return tuple(sorted(subjects))


@dataclass(frozen=True)
class Topology:
    """All that provisioning creates."""

    streams: tuple[Stream, ...] = STREAMS
    facts: tuple[FactConsumer, ...] = FACT_CONSUMERS
    commands: tuple[str, ...] = field(default_factory=command_subjects)
    calls: tuple[tuple[str, type[Request[Any]]], ...] = SERVICE_CALLS

    def mirrors(self) -> list[Stream]:
        return [letters_of(service, self.facts) for service in OWNERS]

    def consumers(self) -> list[Consumer]:
        return [
            *(Consumer(COMMANDS.name, consumer_of(subject), subject) for subject in self.commands),
            *(Consumer(EVENTS.name, fact.name, fact.subject) for fact in self.facts),
            INGEST,
            REVOKING,
        ]
