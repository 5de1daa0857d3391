"""Operations as records."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from signalbox_common.contracts.git import GitOperationStatus, GitOperationType
from signalbox_git.domain import HEADS, SHOWN, TAGS

ENDED = frozenset({GitOperationStatus.SUCCEEDED, GitOperationStatus.FAILED, GitOperationStatus.CANCELLED})
_OF_TAGS = frozenset({GitOperationType.TAG, GitOperationType.DELETE_TAG})
_OF_REFS = frozenset({GitOperationType.BRANCH, GitOperationType.DELETE_BRANCH}) | _OF_TAGS
_OF_NOTHING = frozenset({GitOperationType.FETCH, GitOperationType.CLEANUP})


@dataclass(frozen=True)
class Operation:
    id: uuid.UUID
    project_id: uuid.UUID
    repository_id: uuid.UUID
    type: GitOperationType
    action: Mapping[str, Any]
    """As it was asked for."""
    author: Mapping[str, Any]
    """Whose name stands in what it makes."""
    created_by: uuid.UUID
    created_at: datetime
    status: GitOperationStatus = GitOperationStatus.PENDING
    source: str | None = None
    """The commit that its revision was when that was looked up, once: it stays the one that is meant."""
    previous: str | None = None
    """What its ref led to when that was looked at: nothing else is written over."""
    value: str | None = None
    """What its ref leads to once it is done; None where that is gone then."""
    commit: str | None = None
    made: bool = False
    """Whether the value is a commit that nobody else has: whatever has it, has it from here."""
    push_begun: bool = False
    """Whether it may have been pushed: then it is looked for before it is tried again."""
    changed: bool | None = None
    freed_bytes: int | None = None
    error: Mapping[str, Any] | None = None
    cancelling: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    version: int = 1
    progress: Mapping[str, Any] | None = None
    """How far git was, with the number under which that was told."""

    @property
    def final(self) -> bool:
        return self.status in ENDED

    @property
    def branch(self) -> str | None:
        """The one that it changes."""
        if self.type in _OF_NOTHING | _OF_TAGS:
            return None
        return str(self.action["name" if self.type in _OF_REFS else "branch"])

    @property
    def ref(self) -> str | None:
        if self.type in _OF_TAGS:
            return f"{TAGS}{self.action['name']}"
        return f"{HEADS}{self.branch}" if self.branch is not None else None

    def begun(self, moment: datetime) -> "Operation":
        return replace(self, status=GitOperationStatus.RUNNING, started_at=self.started_at or moment)

    def succeeded(self, moment: datetime, *, changed: bool, **more: Any) -> "Operation":
        return replace(
            self, status=GitOperationStatus.SUCCEEDED, ended_at=moment, changed=changed, error=None, **more
        )

    def failed(
        self,
        moment: datetime,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        paths: tuple[str, ...] = (),
    ) -> "Operation":
        shown = detail[:SHOWN].replace("\0", " ")  # it may be a remote's word
        error = {"code": code, "detail": shown, "retryable": retryable, "paths": list(paths)}
        return replace(self, status=GitOperationStatus.FAILED, ended_at=moment, error=error)

    def cancelled(self, moment: datetime) -> "Operation":
        return replace(self, status=GitOperationStatus.CANCELLED, ended_at=moment)
