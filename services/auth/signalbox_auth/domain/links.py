"""Links that are good once: for a new password, an address, or an invitation."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from signalbox_auth.domain.tokens import hash_of, random_token

PREFIX = "sbx_link_"
BY_ADMIN = timedelta(hours=24)
"""For a new password, handed over by whoever has made it."""
BY_MAIL = timedelta(minutes=60)
CONFIRMS = timedelta(hours=72)


class Purpose(StrEnum):
    RESET = "reset"
    CONFIRM = "confirm"
    INVITATION = "invitation"


PAGES = {
    Purpose.RESET: "/new-password",
    Purpose.CONFIRM: "/confirm-address",
    Purpose.INVITATION: "/join",
}
"""What follows the `#` of an address is sent to no server, and stands in none of its logs."""


@dataclass(frozen=True)
class OneTimeLink:
    token: str
    purpose: Purpose

    @staticmethod
    def new(purpose: Purpose) -> "OneTimeLink":
        return OneTimeLink(random_token(PREFIX), purpose)

    @property
    def hash(self) -> bytes:
        return hash_of(self.token)

    def at(self, public_url: str) -> str:
        return f"{public_url.rstrip('/')}{PAGES[self.purpose]}#{self.token}"


@dataclass(frozen=True)
class StoredLink:
    """What is left of it here."""

    user_id: UUID | None
    invitation_id: UUID | None
    mailed: bool
    """Whether whoever has it is reached at the address that it was sent to."""
