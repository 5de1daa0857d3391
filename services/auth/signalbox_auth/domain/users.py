"""Users: people and service accounts."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from signalbox_common.contracts.roles import PlatformRole
from signalbox_common.keys import uuid7


@dataclass(frozen=True)
class User:
    id: uuid.UUID
    username: str
    email: str | None
    display_name: str
    role: PlatformRole
    created_at: datetime
    kind: Literal["person", "service"] = "person"
    version: int = 1
    """Grows with everything that makes older grants of this user wrong."""
    deactivated_at: datetime | None = None
    email_confirmed: bool = True
    """Whether it is known that the address is theirs: several may say so, and one of them is known to."""
    home_project: uuid.UUID | None = None
    """The one project that a service account belongs to."""

    @property
    def active(self) -> bool:
        return self.deactivated_at is None


def new_person(
    username: str, email: str, display_name: str, role: PlatformRole, *, email_confirmed: bool = True
) -> User:
    now = datetime.now(UTC)
    return User(uuid7(), username, email, display_name, role, now, email_confirmed=email_confirmed)


def new_service_account(name: str, project_id: uuid.UUID, project_slug: str) -> User:
    """Named after its project, with a suffix of its own so that no project can take another's names."""
    identifier = uuid7()
    username = f"sa-{project_slug[:20].rstrip('-')}-{name[:30]}-{identifier.hex[-6:]}"
    now = datetime.now(UTC)
    return User(
        identifier, username, None, name, PlatformRole.USER, now, kind="service", home_project=project_id
    )
