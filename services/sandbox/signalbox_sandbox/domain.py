"""Sandboxes as records: what is wanted of one, what is there, and what follows from the two."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from signalbox_common.contracts.sandbox import AtEnd, SandboxStatus

BASE = "base"
"""The template that every node has by itself."""
KEPT_AFTER_FAILURE = 3600
"""Seconds that the sandboxes of a run stay that could not be collected."""
_MIB = 1024 * 1024
LIMITS_OF_NODE = {
    "pids": ("pids", 1),
    "openFiles": ("files", 1),
    "fileSizeMb": ("fileSize", _MIB),
    "memoryMb": ("memory", _MIB),
    "cpus": ("cpus", 1),
    "diskMb": ("disk", _MIB),
}
"""What it is called there, and in which unit."""


@dataclass(frozen=True)
class Template:
    """What was built once, and is below the prefix of all sandboxes that are made of it."""

    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    digest: str | None
    env: Mapping[str, str]
    size_bytes: int
    created_by: uuid.UUID
    created_at: datetime


class Wish(StrEnum):
    """What somebody wants a sandbox to be."""

    RUNNING = "running"
    PAUSED = "paused"
    DESTROYED = "destroyed"


ENDED = frozenset({SandboxStatus.DESTROYED, SandboxStatus.FAILED, SandboxStatus.LOST})
"""It never comes back from there."""

_LOSSES = frozenset({"node_stopped", "resident_lost"})
"""What a keeper says where nobody wanted it to end."""
_STATUS_OF = {
    Wish.RUNNING: SandboxStatus.RUNNING,
    Wish.PAUSED: SandboxStatus.PAUSED,
    Wish.DESTROYED: SandboxStatus.DESTROYED,
}


@dataclass(frozen=True)
class Sandbox:
    """One row; `wish` and `generation` say what is wanted, `status` what was last seen."""

    id: uuid.UUID
    project_id: uuid.UUID
    created_by: uuid.UUID
    template: str
    limits: Mapping[str, Any]
    lifetime: int
    at_end: AtEnd
    labels: Mapping[str, str]
    has_env: bool
    created_at: datetime
    since: datetime
    """When it became what `status` says."""
    operation: str | None = None
    owner_run: uuid.UUID | None = None
    owner_name: str | None = None
    workspace: Mapping[str, Any] | None = None
    """The checkout that it begins with, if there is one."""
    layer: uuid.UUID | None = None
    """Of that template, where it is not the host's own."""
    builds: bool = False
    keeps: Mapping[str, Any] | None = None
    """The template that it becomes when it ends: `id`, `name`, `digest`, `env`."""
    wish: Wish = Wish.RUNNING
    generation: int = 1
    """Grows with everything that is asked for."""
    lifetime_due: bool = False
    """Whether its node has still to be told of another deadline."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """As its node knows it: `public`, or `hosts`."""
    network_due: bool = False
    """Whether its node has still to be told of it."""
    doors: tuple[Mapping[str, Any], ...] = ()
    keep_for: int = 0
    """Seconds that it stays when its run has ended."""
    stopping: bool = False
    """Whether its run is to stop: then none of its programs begins any more."""
    grace: float = 0.0
    """Seconds in which those that run may end by themselves."""
    stop_due: bool = False
    """Whether its node has still to be told."""
    status: SandboxStatus = SandboxStatus.CREATING
    reason: str | None = None
    node: str | None = None
    epoch: int = 0
    """Grows with every beginning: what is there with an earlier one is a leftover."""
    version: int = 1
    not_enforced: tuple[str, ...] = field(default=())
    deadline: datetime | None = None
    """While it runs."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do about it."""
        due = self.lifetime_due or self.network_due or self.stop_due
        return self.ended or (self.fulfils(self.wish) and not due)

    @property
    def checkout(self) -> uuid.UUID | None:
        return uuid.UUID(self.workspace["checkout"]) if self.workspace is not None else None

    def asked(self, wish: Wish) -> "Sandbox":
        return replace(self, wish=wish, generation=self.generation + 1)

    def given(self, lifetime: int) -> "Sandbox":
        return replace(self, lifetime=lifetime, lifetime_due=True, generation=self.generation + 1)

    @property
    def is_kept(self) -> bool:
        """Whether what it has built is a template now."""
        return self.keeps is not None and self.keeps.get("size") is not None

    def template_kept(self, moment: datetime) -> Template:
        """What it has become."""
        if self.keeps is None:
            raise TypeError("it becomes no template")
        return Template(
            id=uuid.UUID(self.keeps["id"]),
            project_id=self.project_id,
            name=self.keeps["name"],
            digest=self.keeps["digest"],
            env=self.keeps["env"],
            size_bytes=self.keeps["size"],
            created_by=self.created_by,
            created_at=moment,
        )

    def kept_as(self, keeps: Mapping[str, Any]) -> "Sandbox":
        return replace(self, keeps=keeps, wish=Wish.DESTROYED, generation=self.generation + 1)

    def stopped(self, grace: float) -> "Sandbox":
        """Its programs end, and no other begins."""
        return replace(self, stopping=True, stop_due=True, grace=grace, generation=self.generation + 1)

    def after_its_run(self, *, keeps: bool) -> "Sandbox":
        """It ends, at once or when somebody has had the time to look at it."""
        left = KEPT_AFTER_FAILURE if keeps else self.keep_for
        if not left or self.status is SandboxStatus.CREATING:
            return self.asked(Wish.DESTROYED)
        found = self.stopped(0.0) if self.status is SandboxStatus.PAUSED else self
        # What is paused is there to be looked at, too, and its time begins when it is.
        return replace(found.given(left), at_end=AtEnd.DESTROY, wish=Wish.RUNNING)

    def reaching(self, network: Mapping[str, Any]) -> "Sandbox":
        return replace(self, network=network, network_due=True, generation=self.generation + 1)

    def seen(self, status: SandboxStatus, reason: str | None = None, **more: Any) -> "Sandbox":
        return replace(self, status=status, reason=reason, version=self.version + 1, **more)

    def fulfils(self, wish: Wish) -> bool:
        return self.status is _STATUS_OF[wish]

    def node_limits(self) -> dict[str, float | None]:
        """As its node knows them."""
        return {
            name: self.limits[asked] * unit
            for asked, (name, unit) in LIMITS_OF_NODE.items()
            if self.limits.get(asked) is not None
        }

    def limits_without(self, enforced: frozenset[str]) -> tuple[str, ...]:
        """Those that were asked for and do not hold."""
        return tuple(
            sorted(name for name, value in self.limits.items() if value is not None and name not in enforced)
        )


def at_its_end(sandbox: Sandbox, why: str | None) -> tuple[SandboxStatus, str]:
    """What one is whose keeper has gone, by what the keeper said last, if it did."""
    if why == "deadline" and sandbox.at_end is AtEnd.PAUSE:
        return SandboxStatus.PAUSED, why
    if why == "deadline":
        return SandboxStatus.DESTROYED, why
    if why is None or why in _LOSSES:
        return SandboxStatus.LOST, why or "keeper_lost"
    return SandboxStatus.FAILED, why
