"""Who is asking at the edge: the token, whether it still counts, and the grants that it is worth."""

import hashlib
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.requests import cookie_parser
from starlette.types import Scope

from signalbox_common.bus import Bus
from signalbox_common.contracts.auth import AccessRevoked, GetGrant, Grant, Identify
from signalbox_common.errors import SignalboxError, Unauthenticated
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import ACCESS, ACCESS_AUDIENCE, TokenVerifier
from signalbox_gateway import cookies
from signalbox_gateway.errors import SessionEnded
from signalbox_gateway.origins import Origins
from signalbox_gateway.refusals import declared_by

V = TypeVar("V")

CACHED = 10_000
API_TOKEN = "sbx_pat_"  # noqa: S105 - how such tokens begin, no secret
_MARGIN = 5.0
"""Seconds before its end at which a grant is not used any more."""
_IDENTITY_KEPT = 60.0
_TOKEN_LENGTH = 8192
_KNOWN = "signalbox.asker"
"""In the scope of a request."""

_bearer = HTTPBearer(
    auto_error=False, description="An access token from `POST /api/v1/auth/login`, or an API token."
)


@dataclass(frozen=True)
class Asker:
    """A person whose token was checked here; services check the grant for themselves."""

    user_id: uuid.UUID
    username: str
    token: str
    expires_at: float
    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    kid: str | None = None
    """The key that signed the token."""

    @property
    def ends_at(self) -> float | None:
        """When what speaks for the asker ends by itself: a session goes on beyond its access token."""
        return self.expires_at if self.session_id is None else None

    def revoked(self, known: Revocations) -> bool:
        """Whether what speaks for the asker was taken back."""
        return known.covers(session=self.session_id, token=self.token_id, kid=self.kid)

    def stands_on(self, what: AccessRevoked) -> bool:
        """Whether this takes the very thing back that speaks for the asker."""
        return (
            (self.session_id is not None and what.session_id == self.session_id)
            or (self.token_id is not None and what.token_id == self.token_id)
            or (self.kid is not None and what.kid == self.kid)
        )


@dataclass(eq=False)
class _Asking:
    """A question for a grant that is on its way."""

    asker: Asker
    overtaken: bool = False


class TtlCache(Generic[V]):
    """A bounded map whose entries end at a time of their own; the oldest makes room."""

    def __init__(self, size: int = CACHED) -> None:
        self._size = size
        self._entries: OrderedDict[object, tuple[float, V]] = OrderedDict()

    def get(self, key: object) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= time.time():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: object, value: V, until: float) -> None:
        self._entries[key] = (until, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: object) -> None:
        self._entries.pop(key, None)

    def items(self) -> list[tuple[object, V]]:
        return [(key, value) for key, (_, value) in self._entries.items()]


class Identity:
    """Checks tokens and fetches grants. Both are kept while nothing can have been revoked unheard."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._revoked = bus.revoked
        self._tokens = TokenVerifier(bus.keys, ACCESS, ACCESS_AUDIENCE)
        self._askers: TtlCache[Asker] = TtlCache()
        self._grants: TtlCache[tuple[Asker, Grant]] = TtlCache()
        self._asking: set[_Asking] = set()
        self._revoked.listeners.add(self._forget)

    async def asker(self, token: str) -> Asker:
        if len(token) > _TOKEN_LENGTH or not token.isascii():
            raise Unauthenticated("The token is malformed.")
        key = hashlib.sha256(token.encode()).digest()
        asker = self._askers.get(key)
        if asker is None and not token.startswith(API_TOKEN):
            asker = await self._of_access_token(token)
            self._askers.put(key, asker, asker.expires_at)
        if asker is None or not self._revoked.trusted:
            # An API token says nothing itself; and while revocations are not heard, only auth knows.
            asker = await self._asked(token)
            self._askers.put(key, asker, min(asker.expires_at, time.time() + _IDENTITY_KEPT))
        elif asker.revoked(self._revoked):
            raise SessionEnded
        return asker

    async def find_out(self, token: str) -> Asker | None:
        """The same of a token whose signature says whose it is, which nobody needs to be asked for."""
        if token.startswith(API_TOKEN) or len(token) > _TOKEN_LENGTH or not token.isascii():
            return None
        try:
            asker = await self._of_access_token(token)
        except SignalboxError:
            return None
        self._askers.put(hashlib.sha256(token.encode()).digest(), asker, asker.expires_at)
        return self.known(token)

    def known(self, token: str) -> Asker | None:
        """Whose token it is, where that was found out before; nobody is let in by this."""
        asker = self._askers.get(hashlib.sha256(token.encode()).digest())
        return None if asker is None or asker.revoked(self._revoked) else asker

    async def _of_access_token(self, token: str) -> Asker:
        claims = await self._tokens.verify(token)
        try:
            return Asker(
                uuid.UUID(claims["sub"]),
                str(claims["usr"]),
                token,
                float(claims["exp"]),
                session_id=uuid.UUID(claims["sid"]),
                kid=claims["kid"],
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unauthenticated("The token is incomplete.") from error

    async def _asked(self, token: str) -> Asker:
        signed = None if token.startswith(API_TOKEN) else await self._of_access_token(token)
        with declared_by(Identify):
            found = (await self._bus.query(Identify(token=SecretStr(token)))).value()
        if signed is not None:
            return signed
        return Asker(
            found.user_id,
            found.username,
            token,
            found.expires_at.timestamp() if found.expires_at is not None else float("inf"),
            token_id=found.token_id,
        )

    async def grant(
        self,
        asker: Asker,
        service: str,
        project: uuid.UUID | str | None = None,
        *,
        purpose: str | None = None,
        fresh: bool = False,
    ) -> Grant:
        """For a project by its id or its namespace, or for the person alone."""
        key = (asker.token, service, project)
        known = None if fresh or not self._revoked.trusted else self._grants.get(key)
        if known is not None:
            return known[1]
        by_name = isinstance(project, str)
        question = GetGrant(
            token=SecretStr(asker.token),
            audience=service,
            project=None if by_name else project,
            namespace=project if by_name else None,
            purpose=purpose,
        )
        grant = await self._asked_for_grant(asker, question)
        until = time.time() + (grant.expires_at - datetime.now(UTC)).total_seconds() - _MARGIN
        for named in {project, grant.project}:
            self._grants.put((asker.token, service, named), (asker, grant), until)
        return grant

    async def _asked_for_grant(self, asker: Asker, question: GetGrant) -> Grant:
        """None that was made before something was taken back that was heard of since."""
        while True:
            asking = _Asking(asker)
            self._asking.add(asking)
            try:
                with declared_by(GetGrant):
                    grant = (await self._bus.query(question)).value()
            finally:
                self._asking.discard(asking)
            if not asking.overtaken:
                return grant

    def _forget(self, what: AccessRevoked) -> None:
        """Drops the grants that were made before; what is asked next is asked of auth."""
        for key, (asker, _) in self._grants.items():
            if _touches(what, asker):
                self._grants.drop(key)
        for asking in self._asking:
            asking.overtaken |= _touches(what, asking.asker)


def _touches(what: AccessRevoked, asker: Asker) -> bool:
    """A key may have signed any grant."""
    return what.kid is not None or asker.stands_on(what) or what.user_id == asker.user_id


def known_asker(identity: Identity, scope: Scope) -> Asker | None:
    """Whose token a request shows, where it was checked here before."""
    if _KNOWN not in scope:
        token = _shown(scope)
        scope[_KNOWN] = identity.known(token) if token else None
    found: Asker | None = scope[_KNOWN]
    return found


async def signed_asker(identity: Identity, scope: Scope) -> Asker | None:
    """Whose token it is by its signature, where it was not checked here before."""
    token = _shown(scope)
    return await identity.find_out(token) if token else None


def _shown(scope: Scope) -> str:
    said: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, token = said.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.decode("latin-1")
    cookie = said.get(b"cookie", b"").decode("latin-1")
    return cookie_parser(cookie).get(cookies.ACCESS, "") if cookie else ""


async def current_asker(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Asker:
    """By bearer token, or else by the cookie of a browser, which must show that it is not being used."""
    if len(request.headers.getlist("authorization")) > 1:
        raise Unauthenticated("Say once who is asking.")
    identity: Identity = request.app.state.clients.identity
    if credentials is not None:
        return _noted(request, await identity.asker(credentials.credentials))
    token = request.cookies.get(cookies.ACCESS)
    if token is None or "authorization" in request.headers:
        raise Unauthenticated
    asker = await identity.asker(token)
    if asker.session_id is None:
        raise Unauthenticated
    origins: Origins = request.app.state.cookies.origins
    origins.check(request, asker.session_id)
    return _noted(request, asker)


def _noted(request: Request, asker: Asker) -> Asker:
    """For the line of the log."""
    request.state.user = str(asker.user_id)
    return asker


CurrentAsker = Annotated[Asker, Depends(current_asker)]
