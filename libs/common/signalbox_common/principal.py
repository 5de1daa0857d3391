"""Who is asking: grants that auth signs and every service checks for itself."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from signalbox_common.contracts.base import GrantScope
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


class Protected(Protocol):
    """What says itself who may do it: the contract of a message, or a route of the data plane."""

    @property
    def grant(self) -> GrantScope: ...
    @property
    def least_role(self) -> ProjectRole: ...
    @property
    def admin(self) -> bool: ...
    @property
    def in_person(self) -> bool: ...
    @property
    def caller(self) -> str | None: ...
    def verb(self) -> str: ...
    def scope(self) -> str | None: ...


def authorize(contract: Protected, standing: Standing) -> None:
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
        return
    needed = contract.scope()
    if standing.scopes is not None and needed is not None and not in_scope(needed, standing.scopes):
        raise InsufficientScope(needed)


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
        return (await self.hold(grant, scope, at=at)).principal

    async def hold(self, grant: str | None, scope: GrantScope, *, at: datetime | None = None) -> "HeldGrant":
        """For what goes on while the grant may be taken back."""
        if not grant:
            raise Unauthenticated("A grant is needed.")
        try:
            claims = await self._tokens.verify(grant, at=at)
        except UnknownKey as error:
            # Grants come from auth itself: its key may be on its way here. Never a reason to refuse.
            raise UnknownGrantKey from error
        try:
            # Grants of the first version carry none, and commands of its time may still wait in the stream.
            held = HeldGrant(_principal(claims), int(claims.get("ver", 1)), claims["kid"])
        except (KeyError, ValueError, TypeError) as error:
            raise Unauthenticated("The grant is incomplete.") from error
        await self._revoked.known()
        if held.covered(self._revoked, at=at):
            raise GrantRevoked
        if scope is GrantScope.PROJECT and held.principal.project_id is None:
            raise Forbidden("A grant for a project is needed.")
        return held


@dataclass(frozen=True)
class HeldGrant:
    """Who was let in, and all that they were let in by."""

    principal: Principal
    version: int
    kid: str

    def covered(self, revoked: Revocations, *, at: datetime | None = None) -> bool:
        """Whether anything of that had been taken back at that moment (by now, unless said otherwise)."""
        principal = self.principal
        return revoked.covers(
            at=at,
            session=principal.session_id,
            token=principal.token_id,
            delegation=principal.delegation_id,
            user=principal.user_id,
            version=self.version,
            kid=self.kid,
        )


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
        namespace=_word(claims, "nsp"),
        at_home=claims.get("own") is True,
    )


def _id(claims: dict[str, Any], name: str) -> uuid.UUID | None:
    return uuid.UUID(claims[name]) if claims.get(name) is not None else None


def _word(claims: dict[str, Any], name: str) -> str | None:
    return str(claims[name]) if claims.get(name) is not None else None


def _words(claims: dict[str, Any], name: str) -> frozenset[str] | None:
    return frozenset(str(word) for word in claims[name]) if claims.get(name) is not None else None
