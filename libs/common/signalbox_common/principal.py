"""Who is asking: grants that auth signs and every service checks for itself."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signalbox_common.contracts.base import GrantScope, Request
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.errors import (
    AdminRequired,
    Forbidden,
    GrantRevoked,
    InsufficientScope,
    NotDelegated,
    Reserved,
    RoleTooLow,
    SessionRequired,
    Unauthenticated,
    UnknownGrantKey,
)
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import GRANT, KeyRing, TokenVerifier, UnknownKey


@dataclass(frozen=True)
class Principal:
    """A person, as far as one service needs to know: never built from anything but a verified grant."""

    user_id: uuid.UUID
    username: str
    role: PlatformRole
    project_id: uuid.UUID | None = None
    project_role: ProjectRole | None = None
    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    delegation_id: uuid.UUID | None = None
    scopes: frozenset[str] | None = None
    """What an API token is limited to; None where it is not."""
    verbs: frozenset[str] | None = None
    """What a delegation is limited to, whatever the scopes of the API token were that it came from."""
    act: str | None = None
    """The service that acts for the person, under a delegation."""
    run: str | None = None
    """What it does so for."""
    namespace: str | None = None
    """The slug of that project."""
    at_home: bool = False
    """Whether that project is the one that `default` stands for."""

    def project(self) -> uuid.UUID:
        """The one project that this grant opens."""
        if self.project_id is None:
            raise Forbidden("This grant opens no project.")
        return self.project_id

    @property
    def standing(self) -> "Standing":
        return Standing(
            self.role, self.project_role, self.session_id is not None, self.scopes, self.verbs, self.act
        )

    @property
    def credential(self) -> str | None:
        """What spoke for the person, as the audit log names it."""
        for kind, identifier in (
            ("delegation", self.delegation_id),
            ("token", self.token_id),
            ("session", self.session_id),
        ):
            if identifier is not None:
                return f"{kind}:{identifier}"
        return None


@dataclass(frozen=True)
class Standing:
    """What counts when it is decided what somebody may do."""

    role: PlatformRole
    project_role: ProjectRole | None = None
    in_person: bool = True
    scopes: frozenset[str] | None = None
    verbs: frozenset[str] | None = None
    act: str | None = None


def authorize(contract: type[Request[Any]], standing: Standing) -> None:
    """Raises Forbidden where the contract asks for more than that."""
    if contract.in_person and not standing.in_person:
        raise SessionRequired
    if contract.caller is not None and standing.act != contract.caller:
        raise Reserved(contract.caller)
    if contract.admin and standing.role is not PlatformRole.ADMIN:
        raise AdminRequired
    if contract.grant is GrantScope.PROJECT:
        role = standing.project_role
        if role is None or not role.includes(contract.least_role):
            raise RoleTooLow(contract.least_role)
    if standing.verbs is not None:
        if contract.verb() not in standing.verbs:
            raise NotDelegated
    elif standing.scopes is not None and not in_scope(contract.scope(), standing.scopes):
        raise InsufficientScope(contract.scope())


def in_scope(needed: str, held: frozenset[str]) -> bool:
    """`projects:write` is covered by itself, by `projects:*` and by `*`; writing includes reading."""
    area, _, kind = needed.partition(":")
    enough = {needed, f"{area}:*", "*"} | ({f"{area}:write"} if kind == "read" else set())
    return not enough.isdisjoint(held)


class GrantVerifier:
    """The only door to a `Principal` in a service."""

    def __init__(self, keys: KeyRing, revoked: Revocations, service: str) -> None:
        self._tokens = TokenVerifier(keys, GRANT, service)
        self._revoked = revoked

    async def verify(self, grant: str | None, scope: GrantScope, *, at: datetime | None = None) -> Principal:
        if not grant:
            raise Unauthenticated("A grant is needed.")
        try:
            claims = await self._tokens.verify(grant, at=at)
        except UnknownKey as error:
            # Grants come from auth itself: its key may be on its way here. Never a reason to refuse.
            raise UnknownGrantKey from error
        try:
            principal = _principal(claims)
            # Grants of the first version carry none, and commands of its time may still wait in the stream.
            version = int(claims.get("ver", 1))
        except (KeyError, ValueError, TypeError) as error:
            raise Unauthenticated("The grant is incomplete.") from error
        await self._revoked.known()
        if self._revoked.covers(
            at=at,
            session=principal.session_id,
            token=principal.token_id,
            delegation=principal.delegation_id,
            user=principal.user_id,
            version=version,
            kid=claims["kid"],
        ):
            raise GrantRevoked
        if scope is GrantScope.PROJECT and principal.project_id is None:
            raise Forbidden("A grant for a project is needed.")
        return principal


def _principal(claims: dict[str, Any]) -> Principal:
    project = claims.get("prj")
    return Principal(
        user_id=uuid.UUID(claims["sub"]),
        username=str(claims["usr"]),
        role=PlatformRole(claims["rol"]),
        project_id=uuid.UUID(project) if project else None,
        project_role=ProjectRole(claims["prr"]) if project else None,
        session_id=_id(claims, "sid"),
        token_id=_id(claims, "tid"),
        delegation_id=_id(claims, "dlg"),
        scopes=_words(claims, "scp"),
        verbs=_words(claims, "vrb"),
        act=_word(claims, "act"),
        run=_word(claims, "run"),
        namespace=_word(claims, "nsp"),
        at_home=claims.get("own") is True,
    )


def _id(claims: dict[str, Any], name: str) -> uuid.UUID | None:
    return uuid.UUID(claims[name]) if claims.get(name) is not None else None


def _word(claims: dict[str, Any], name: str) -> str | None:
    return str(claims[name]) if claims.get(name) is not None else None


def _words(claims: dict[str, Any], name: str) -> frozenset[str] | None:
    return frozenset(str(word) for word in claims[name]) if claims.get(name) is not None else None
