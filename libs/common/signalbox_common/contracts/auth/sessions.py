"""Sessions: signing in, staying signed in, and ending it."""

import uuid
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.auth.users import GivenPassword
from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Query, Reply, Text
from signalbox_common.contracts.events import Event

RefreshToken = Annotated[SecretStr, Field(max_length=200)]


class TokenPair(Reply):
    """What a session begins or goes on with; each token is shown once."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: uuid.UUID


class Login(Ask[TokenPair]):
    subject = "ask.auth.v1.login"
    grant = GrantScope.NONE
    area = "account"
    once: ClassVar[bool] = False
    unrecorded = frozenset({"too_many_attempts"})
    refusals = {"bad_credentials": 401, "too_many_attempts": 429}

    username: Annotated[Text, StringConstraints(max_length=254)] | None = None
    email: Annotated[Text, StringConstraints(max_length=254)] | None = None
    password: GivenPassword


class Refresh(Ask[TokenPair]):
    """Changes a refresh token for its successor; one that was changed before ends the session."""

    subject = "ask.auth.v1.refresh"
    grant = GrantScope.NONE
    area = "account"
    once: ClassVar[bool] = False
    unrecorded = frozenset({"bad_refresh_token"})
    refusals = {"bad_refresh_token": 401, "refresh_token_reused": 401}

    refresh_token: RefreshToken


class Logout(Ask[Empty]):
    """Ends the session that asks."""

    subject = "ask.auth.v1.logout"
    area = "account"
    in_person = True
    once: ClassVar[bool] = False


class Session(Reply):
    id: uuid.UUID
    current: bool
    client: str | None
    address: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class SessionPage(Reply):
    items: tuple[Session, ...]
    next_cursor: str | None = None


class ListSessions(Query[SessionPage]):
    subject = "qry.auth.v1.list-sessions"
    area = "account"


class RevokeSession(Command[Empty]):
    subject = "cmd.auth.v1.revoke-session"
    area = "account"
    in_person = True
    target = "session_id"
    refusals = {"session_not_found": 404}

    session_id: uuid.UUID


class RevokeOtherSessions(Command[Empty]):
    """All but the one that asks."""

    subject = "cmd.auth.v1.revoke-other-sessions"
    area = "account"
    in_person = True


class SessionRevoked(Event):
    subject = "evt.*.auth.session.revoked"

    id: uuid.UUID
    user_id: uuid.UUID
    reason: str
