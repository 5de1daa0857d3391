"""Repositories and checkouts as records."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from signalbox_common.contracts.git import (
    CheckoutState,
    DeliveryPolicy,
    DeliveryState,
    Forge,
    PullRequestState,
    RepositoryStatus,
)

HEADS, TAGS = "refs/heads/", "refs/tags/"
SHOWN = 300
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Repository:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    url: str
    forge: Forge
    default_branch: str | None
    """As somebody has said."""
    credential: uuid.UUID | None
    """Under which name it is kept: another one has another."""
    setup: tuple[str, ...]
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    status: RepositoryStatus = RepositoryStatus.PENDING
    reason: str | None = None
    detail: str | None = None
    host_keys: str | None = None
    fetched_at: datetime | None = None
    size_bytes: int | None = None
    deleted_at: datetime | None = None
    protected: tuple[str, ...] | None = None
    """Branches that nothing is delivered to, by name or by pattern; by default the default branch."""
    head: str | None = None
    """The branch that the remote begins with, as it says."""
    api_url: str | None = None
    """Of its forge, where somebody has said it."""
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    signing_key: uuid.UUID | None = None
    """Under which name it is kept."""
    signed_by: str | None = None
    """Its public half."""

    @property
    def main_branch(self) -> str | None:
        return self.default_branch or self.head

    def protects(self, branch: str, main: str | None) -> bool:
        """Where nobody has said which, the main branch; and all, as long as that is not known."""
        if self.protected is None:
            return main is None or branch in (main, self.main_branch)
        return any(fnmatchcase(branch, pattern) for pattern in self.protected)

    def fetched(self, moment: datetime, head: str | None, size: int, host_keys: str | None) -> "Repository":
        return replace(
            self,
            status=RepositoryStatus.READY,
            reason=None,
            detail=None,
            head=head,
            host_keys=self.host_keys or host_keys,
            fetched_at=moment,
            size_bytes=size,
        )

    def measured(self, size: int) -> "Repository":
        return replace(self, size_bytes=size)

    def refused(self, reason: str, detail: str) -> "Repository":
        return replace(self, status=RepositoryStatus.FAILED, reason=reason, detail=detail[:SHOWN])


def forge_of(host: str) -> Forge:
    """Where nobody has said what is there."""
    return Forge.GITHUB if host == "github.com" else Forge.GIT


def _digest(values: Mapping[str, Any]) -> str:
    written = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CheckoutOptions:
    """What trees of one commit differ by."""

    branch: str
    depth: int = 50
    sparse: tuple[str, ...] = ()
    """Folders, in their order; all where there are none."""
    submodules: bool = False
    lfs: bool = False

    @property
    def digest(self) -> str:
        """Part of the name of the folder. Without either it is what it was before there were any."""
        values = asdict(self)
        for name in ("submodules", "lfs"):
            if not values[name]:
                del values[name]
        return _digest(values)

    @property
    def shape(self) -> str:
        """The same of those trees that have the same files and as much history."""
        kept = {"lfs": True} if self.lfs else {}
        return _digest({"depth": self.depth, "sparse": self.sparse} | kept)


@dataclass(frozen=True)
class Checkout:
    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    run: uuid.UUID | None
    wanted: Mapping[str, Any]
    """As it was asked for: `ref`, `branch`, `newBranch`, `depth`, `sparse`, …"""
    created_by: uuid.UUID
    created_at: datetime
    state: CheckoutState = CheckoutState.PREPARING
    commit: str | None = None
    branch: str | None = None
    base: str | None = None
    error: Mapping[str, Any] | None = None
    folder: str | None = None
    """Of its tree, below those of the project, as long as it is held."""
    version: int = 1

    def ready(self, commit: str, branch: str, base: str, folder: str) -> "Checkout":
        return replace(
            self,
            state=CheckoutState.READY,
            commit=commit,
            branch=branch,
            base=base,
            folder=folder,
            error=None,
            version=self.version + 1,
        )

    def released(self) -> "Checkout":
        """Nobody has needed it for long enough: whoever comes now asks for another one."""
        gone = self.failed("checkout_released", "Nobody had it any more, and it was removed.", retryable=True)
        return replace(gone, folder=None)

    def failed(self, code: str, detail: str, *, retryable: bool = False) -> "Checkout":
        error = {"code": code, "detail": detail[:SHOWN], "retryable": retryable}
        return replace(self, state=CheckoutState.FAILED, error=error, version=self.version + 1)


FINAL = frozenset(
    {
        DeliveryState.UNCHANGED,
        DeliveryState.REFUSED,
        DeliveryState.STOPPED,
        DeliveryState.FAILED,
        DeliveryState.PUSHED,
        DeliveryState.OPENED,
    }
)
"""Nothing more comes of it."""


@dataclass(frozen=True)
class Delivery:
    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    run: uuid.UUID | None
    ordinal: int
    wanted: Mapping[str, Any]
    """Message, people, branch and what is allowed, as it was asked for, and the policy as it was then."""
    changes: str
    """The digest of its change set, or of its bundle."""
    base: str
    created_by: uuid.UUID
    created_at: datetime
    state: DeliveryState = DeliveryState.PENDING
    commit: str | None = None
    branch: str | None = None
    expected: str | None = None
    """What has to be there for ours to take its place."""
    push_begun: bool = False
    """Whether it may have been pushed: then it is looked for before it is tried again."""
    rebased: bool = False
    pull_request: Mapping[str, Any] | None = None
    """Its id, number and address, once it is there."""
    note: str | None = None
    findings: tuple[Mapping[str, Any], ...] = ()
    error: Mapping[str, Any] | None = None
    version: int = 1
    bundled: bool = False
    """Whether its commits are kept as they come."""

    @property
    def policy(self) -> DeliveryPolicy:
        """That of its repository when it was asked for."""
        return DeliveryPolicy.model_validate(self.wanted.get("policy") or {})

    @property
    def final(self) -> bool:
        return self.state in FINAL and not self.opens

    @property
    def opens(self) -> bool:
        """Whether what is pushed is not all that was asked for."""
        wanted = self.wanted.get("pull_request") is not None
        return self.state is DeliveryState.PUSHED and wanted and self.note is None

    def now(self, state: DeliveryState, **more: Any) -> "Delivery":
        return replace(self, state=state, version=self.version + 1, **more)

    def ended(self, state: DeliveryState, code: str, detail: str, *, retryable: bool = False) -> "Delivery":
        return self.now(state, error={"code": code, "detail": detail[:SHOWN], "retryable": retryable})


PULL_REQUEST_ENDED = frozenset({PullRequestState.MERGED, PullRequestState.CLOSED})


@dataclass(frozen=True)
class PullRequest:
    """One at a forge, as it was seen last."""

    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    number: int
    url: str
    state: PullRequestState
    head: str
    base: str
    title: str
    commit: str
    run: uuid.UUID | None
    task: uuid.UUID | None
    created_by: uuid.UUID
    created_at: datetime
    seen_at: datetime
    version: int = 1


@dataclass(frozen=True)
class HostCredential:
    """What a project is shown to a host as, where its repositories there have nothing of their own."""

    id: uuid.UUID
    project_id: uuid.UUID
    host: str
    forge: Forge
    api_url: str | None
    username: str | None
    credential: uuid.UUID
    created_by: uuid.UUID | None
    created_at: datetime
