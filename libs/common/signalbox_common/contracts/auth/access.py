"""Grants, delegations, the keys that sign them, and what takes them back."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import Ask, Empty, GrantScope, Moment, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.roles import PlatformRole, ProjectRole

Audience = Annotated[Text, StringConstraints(pattern=r"^[a-z]+$", max_length=32)]
Token = Annotated[SecretStr, Field(max_length=8192)]
Verb = Annotated[Text, StringConstraints(max_length=100, pattern=r"^[a-z]+\.[a-z0-9-]+$")]
Namespace = Annotated[Text, StringConstraints(min_length=1, max_length=63)]
"""The slug of a project; `default` is the asker's personal one, or a service account's own."""


class Identity(Reply):
    """Whose token it is, as the gateway may remember it for a minute."""

    user_id: uuid.UUID
    username: str
    role: PlatformRole
    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class Identify(Query[Identity]):
    """Looks at an access token or an API token and answers from the database, not from the token."""

    subject = "qry.auth.v1.identify"
    grant = GrantScope.NONE
    refusals = {
        "unauthenticated": 401,
        "token_expired": 401,
        "token_revoked": 401,
        "session_ended": 401,
        "key_retired": 401,
    }

    token: Token


class Grant(Reply):
    """A signed statement for one service: who asks, and for which project."""

    grant: str
    expires_at: datetime
    role: ProjectRole | None = None
    project: uuid.UUID | None = None
    namespace: str | None = None
    """The slug of the project."""
    scopes: tuple[str, ...] | None = None
    """What an API token is limited to."""


class GetGrant(Query[Grant]):
    """Auth takes nobody's word for a person: the person's own token comes along."""

    subject = "qry.auth.v1.grant"
    grant = GrantScope.NONE
    refusals = {
        "unauthenticated": 401,
        "token_expired": 401,
        "token_revoked": 401,
        "session_ended": 401,
        "key_retired": 401,
        "project_not_found": 404,
    }

    token: Token
    audience: Audience
    project: uuid.UUID | None = None
    namespace: Namespace | None = None
    """Names the project by its slug, where its id is not given."""
    purpose: Verb | None = None
    """The change that it is wanted for; where there is no grant to be had, that is written down."""


class NamespaceAccess(Reply):
    namespace: str
    """As it was asked for."""
    slug: str
    project: uuid.UUID
    role: ProjectRole


class NamespaceAccessList(Reply):
    items: tuple[NamespaceAccess, ...]


class GetNamespaces(Query[NamespaceAccessList]):
    """From a service that holds a grant of the person: which of these namespaces are open to them.

    Those that are not, or not there, are left out.
    """

    subject = "qry.auth.v1.reach"
    grant = GrantScope.NONE
    refusals = {"unauthenticated": 401, "token_expired": 401, "key_retired": 401, "grant_revoked": 401}

    service: Audience
    proof: Token
    namespaces: Annotated[tuple[Namespace, ...], Field(min_length=1, max_length=200)]


class FirstAdministrator(Reply):
    project: uuid.UUID | None = None
    """Their personal one; None as long as there is no administrator."""


class GetFirstAdministrator(Query[FirstAdministrator]):
    """From git alone: whose is what the operator's environment gives."""

    subject = "qry.auth.v1.first-administrator"
    grant = GrantScope.NONE


class Delegation(Reply):
    """Lets one service go on for a person when the person is gone."""

    id: uuid.UUID
    delegation: str
    """The secret that stands for it, shown here and never again; empty where the asker has made it."""
    expires_at: datetime


class Delegate(Ask[Delegation]):
    """From a service that holds a grant of the person for the project; the grant comes along as proof."""

    subject = "ask.auth.v1.delegate"
    grant = GrantScope.NONE
    target = "run"
    refusals = {
        "unauthenticated": 401,
        "token_expired": 401,
        "key_retired": 401,
        "grant_revoked": 401,
        "forbidden": 403,
        "not_delegated": 403,
        "role_too_low": 403,
        "proof_out_of_reach": 401,
        "delegation_ended": 401,
        "delegation_exists": 409,
    }

    service: Audience
    proof: Token
    accepted_at: Moment | None = None
    """When the stream took the command that the proof came with, at most seven days ago: the proof is judged
    as of then; role, account and API token are judged as of now."""
    hash: Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the secret that is to stand for it, made and stored by the asker: no answer can be lost."""
    run: Annotated[Text, StringConstraints(min_length=1, max_length=100)]
    """What it is for: the run, the schedule."""
    verbs: Annotated[tuple[Verb, ...], Field(min_length=1, max_length=50)]
    role_needed: ProjectRole = ProjectRole.DEVELOPER
    """It ends when the person's role falls below this."""
    hours: int = Field(default=24, ge=1, le=24 * 31)


class Renewal(Reply):
    """How long it goes on now."""

    id: uuid.UUID
    expires_at: datetime


class RenewDelegation(Ask[Renewal]):
    """It goes on for so many hours from now, while the person still has the role."""

    subject = "ask.auth.v1.renew-delegation"
    grant = GrantScope.NONE
    refusals = {"delegation_ended": 401}

    delegation: Annotated[SecretStr, Field(max_length=200)]
    hours: int = Field(default=24, ge=1, le=24 * 31)


class EndDelegation(Ask[Empty]):
    """The run is over, or the schedule was removed: what it may do ends within a second."""

    subject = "ask.auth.v1.end-delegation"
    grant = GrantScope.NONE
    refusals = {"delegation_ended": 401}

    delegation: Annotated[SecretStr, Field(max_length=200)]


class DelegatedGrant(Query[Grant]):
    """A grant for a minute, given only while the person still has the role."""

    subject = "qry.auth.v1.delegated-grant"
    grant = GrantScope.NONE
    refusals = {"delegation_ended": 401}

    delegation: Annotated[SecretStr, Field(max_length=200)]
    audience: Audience


class KeyEntry(Reply):
    """A public key (RFC 8037)."""

    kid: str
    x: str
    state: Literal["next", "current", "retired"]


class Keys(Reply):
    items: tuple[KeyEntry, ...]


class ListKeys(Query[Keys]):
    """The keys that tokens of today are signed with, and the one that comes next."""

    subject = "qry.auth.v1.list-keys"
    grant = GrantScope.NONE


class RotateKeys(Ask[Keys]):
    """The next key becomes the current one; `distrust_old` refuses at once what older ones have signed."""

    subject = "ask.auth.v1.rotate-keys"
    grant = GrantScope.NONE
    operator = True

    distrust_old: bool = False


class AccessRevoked(Event):
    """What is not good any more, from the moment that the stream took this.

    Either everything of one session, API token, delegation or signing key; or all grants that were made
    for a user before the user's `version`.
    """

    subject = "rvk.*.auth.access.revoked"

    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    delegation_id: uuid.UUID | None = None
    kid: str | None = None
    user_id: uuid.UUID | None = None
    version: int | None = None


class RevocationsTold(Reply):
    waiting: bool
    """Whether anything was taken back that the stream does not have yet."""


class CheckRevocations(Query[RevocationsTold]):
    """Whether the stream of revocations holds everything that was taken back until now."""

    subject = "qry.auth.v1.check-revocations"
    grant = GrantScope.NONE
