"""Projects, their members, and who may change whom."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from signalbox_auth.errors import RoleTooLow
from signalbox_common.contracts.roles import ProjectRole


@dataclass(frozen=True)
class Project:
    id: uuid.UUID
    name: str
    slug: str
    description: str
    role: ProjectRole
    created_at: datetime
    updated_at: datetime
    personal_of: uuid.UUID | None = None

    @property
    def personal(self) -> bool:
        return self.personal_of is not None


@dataclass(frozen=True)
class Member:
    user_id: uuid.UUID
    username: str
    display_name: str
    kind: Literal["person", "service"]
    role: ProjectRole
    added_at: datetime


def check_may_set(own: ProjectRole, *roles: ProjectRole) -> None:
    """Nobody gives or takes a role that is above their own."""
    if not all(own.includes(role) for role in roles):
        raise RoleTooLow
