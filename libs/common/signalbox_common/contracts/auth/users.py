"""Users: people, and the service accounts that stand for machines."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import Ask, Command, GrantScope, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.contracts.roles import PlatformRole

Username = Annotated[
    Text, StringConstraints(min_length=2, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
Email = Annotated[
    Text,
    StringConstraints(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f.]+$",
    ),
]
DisplayName = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
NewPassword = Annotated[SecretStr, Field(min_length=12, max_length=1024)]
LinkToken = Annotated[SecretStr, Field(max_length=100)]
"""What a link that is good once ends with."""
GivenPassword = Annotated[SecretStr, Field(max_length=1024)]


class User(Reply):
    id: uuid.UUID
    username: str
    email: str | None
    """None for service accounts."""
    email_confirmed: bool = True
    """Whether it is known that they are reached there; others may say that it is theirs, too, until then."""
    display_name: str
    role: PlatformRole
    created_at: datetime


class ManagedUser(User):
    """A user as administrators see them."""

    active: bool
    kind: Literal["person", "service"]


class Register(Ask[User]):
    """Answered alike whether the address is known or not."""

    subject = "ask.auth.v1.register"
    grant = GrantScope.NONE
    area = "account"
    target = "username"
    refusals = {
        "registration_closed": 403,
        "invitation_needed": 403,
        "bad_invitation": 403,
        "username_taken": 409,
        "reserved_name": 422,
        "weak_password": 422,
    }

    username: Username
    email: Email
    password: NewPassword
    display_name: DisplayName | None = None
    invitation: LinkToken | None = None
    """What an invitation's link ends with."""


class AdminRegister(Ask[User]):
    """Makes a user with any role; takes a password, or a hash (bcrypt, argon2id) from another system."""

    subject = "ask.auth.v1.admin-register"
    admin = True
    in_person = True
    area = "users"
    target = "username"
    refusals = {"username_taken": 409, "email_taken": 409, "weak_password": 422, "bad_password_hash": 422}

    username: Username
    email: Email
    password: NewPassword | None = None
    password_hash: Annotated[SecretStr, Field(max_length=512)] | None = None
    display_name: DisplayName | None = None
    role: PlatformRole = PlatformRole.USER


class GetMe(Query[User]):
    subject = "qry.auth.v1.me"
    area = "account"


class UpdateMe(Command[User]):
    subject = "cmd.auth.v1.update-me"
    area = "account"
    in_person = True
    refusals = {"password_needed": 422, "reserved_name": 422, "nothing_to_change": 422}

    email: Email | None = None
    """Only as it is already: another one takes the password, which no command carries."""
    display_name: DisplayName | None = None


class ChangeEmail(Ask[User]):
    """With the password: who has got hold of a session must not take the account with it."""

    subject = "ask.auth.v1.change-email"
    area = "account"
    in_person = True
    refusals = {"wrong_password": 403, "reserved_name": 422, "too_many_attempts": 429}

    email: Email
    current_password: GivenPassword
    display_name: DisplayName | None = None


class PasswordChanged(Reply):
    tokens_ended: int = 0
    tokens_remaining: int = 0
    """API tokens of the person that still count."""


class ChangePassword(Ask[PasswordChanged]):
    """Ends all other sessions of the person, and their API tokens where that is wished for."""

    subject = "ask.auth.v1.change-password"
    area = "account"
    in_person = True
    refusals = {"wrong_password": 403, "weak_password": 422, "too_many_attempts": 429}

    current_password: GivenPassword
    new_password: NewPassword
    end_tokens: bool = False


class UserPage(Reply):
    items: tuple[ManagedUser, ...]
    next_cursor: str | None = None


class ListUsers(Query[UserPage]):
    subject = "qry.auth.v1.list-users"
    admin = True
    area = "users"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None
    q: Search | None = None
    active: bool | None = None


class GetUser(Query[ManagedUser]):
    subject = "qry.auth.v1.get-user"
    admin = True
    area = "users"
    refusals = {"user_not_found": 404}

    user_id: uuid.UUID


class UpdateUser(Command[ManagedUser]):
    """`active: false` deactivates: every session and token of the user ends at once."""

    subject = "cmd.auth.v1.update-user"
    admin = True
    in_person = True
    area = "users"
    target = "user_id"
    refusals = {"user_not_found": 404, "email_taken": 409, "last_admin": 409, "nothing_to_change": 422}

    user_id: uuid.UUID
    email: Email | None = None
    display_name: DisplayName | None = None
    role: PlatformRole | None = None
    active: bool | None = None

    def changes_standing(self) -> bool:
        return self.role is not None or self.active is not None


class UserRegistered(Event):
    subject = "evt.*.auth.user.registered"

    id: uuid.UUID
    username: str


class UserChanged(Event):
    subject = "evt.*.auth.user.changed"

    id: uuid.UUID
    username: str


class UserDeactivated(Event):
    subject = "evt.*.auth.user.deactivated"

    id: uuid.UUID
    username: str
