"""Invitations of people who are to register."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from signalbox_auth.domain.names import is_same_mailbox
from signalbox_common.contracts.roles import ProjectRole

MOST_IN_PROJECT = 100
"""That are open at a time."""


@dataclass(frozen=True)
class Invitation:
    id: uuid.UUID
    email: str | None
    project_id: uuid.UUID | None
    role: ProjectRole | None
    invited_by: uuid.UUID
    created_at: datetime
    expires_at: datetime
    used_by: uuid.UUID | None = None
    revoked_at: datetime | None = None

    def status(self, now: datetime) -> Literal["open", "used", "revoked", "expired"]:
        if self.used_by is not None:
            return "used"
        if self.revoked_at is not None:
            return "revoked"
        return "open" if now < self.expires_at else "expired"

    def fits(self, email: str, now: datetime) -> bool:
        return self.status(now) == "open" and (self.email is None or is_same_mailbox(self.email, email))
