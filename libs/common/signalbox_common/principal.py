"""Who is asking: grants that auth signs and every service checks for itself."""

import base64
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signalbox_common.contracts.auth import PlatformRole, ProjectRole
from signalbox_common.contracts.base import TOKEN, GrantScope
from signalbox_common.errors import Forbidden, Unauthenticated, Unavailable

ISSUER = "signalbox"
GRANT_LIFE = timedelta(seconds=60)
ACCESS_AUDIENCE = "signalbox-api"
CACHED = 2_000
"""Tokens whose signature is remembered as good: a grant comes with every request of its minute."""
KEY_ID_LENGTH = 64
_LEEWAY = timedelta(seconds=5)
_UNKNOWN_FOR = 2.0

FetchKey = Callable[[str], Awaitable[bytes | None]]
"""Finds the raw public key of a key id; None where there is none; raises where nobody can be asked."""


@dataclass(frozen=True)
class Principal:
    """A person, as far as one service needs to know: never built from anything but a verified grant."""

    user_id: uuid.UUID
    username: str
    role: PlatformRole
    project_id: uuid.UUID | None = None
    project_role: ProjectRole | None = None

    def project(self) -> uuid.UUID:
        """The one project that this grant opens."""
        if self.project_id is None:
            raise Forbidden("This grant opens no project.")
        return self.project_id


class SigningKey:
    """An Ed25519 key that signs tokens; held by auth alone."""

    def __init__(self, kid: str, private: Ed25519PrivateKey) -> None:
        self.kid = kid
        self._private = private

    @property
    def public(self) -> bytes:
        return self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, typ: str, audience: str, life: timedelta, claims: dict[str, Any]) -> str:
        now = datetime.now(UTC)
        return jwt.encode(
            {"iss": ISSUER, "aud": audience, "iat": now, "exp": now + life, **claims},
            self._private,
            algorithm="EdDSA",
            headers={"typ": typ, "kid": self.kid},
        )


class UnknownKey(Unauthenticated):
    code = "unknown_key"
    detail = "The token was signed with a key that is not ours."


class KeyRing:
    """Public keys by id, fetched once and kept."""

    def __init__(self, fetch: FetchKey) -> None:
        self._fetch = fetch
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        """Ids that were asked for in vain, and until when they are not asked for again."""

    async def get(self, kid: str) -> Ed25519PublicKey:
        known = self._keys.get(kid)
        if known is not None:
            return known
        raw = await self._fetch(kid) if self._unknown.get(kid, 0.0) < time.monotonic() else None
        if raw is None:
            if self._unknown.get(kid, 0.0) < time.monotonic():
                self._unknown[kid] = time.monotonic() + _UNKNOWN_FOR
            if len(self._unknown) > CACHED:
                self._unknown.popitem(last=False)
            raise UnknownKey
        self._unknown.pop(kid, None)
        key = Ed25519PublicKey.from_public_bytes(raw)
        self._keys[kid] = key
        return key


def _is_key_id(kid: object) -> TypeGuard[str]:
    """Whether it may become part of a subject; unbounded, it would break the connection to NATS."""
    return isinstance(kid, str) and len(kid) <= KEY_ID_LENGTH and TOKEN.fullmatch(kid) is not None


class TokenVerifier:
    """Checks tokens of one type for one audience."""

    def __init__(self, keys: KeyRing, typ: str, audience: str) -> None:
        self._keys = keys
        self._typ = typ
        self._audience = audience
        self._signed: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def verify(self, token: str, *, at: datetime | None = None) -> dict[str, Any]:
        """The claims of a token that was valid at that time (now, unless said otherwise)."""
        claims = self._signed.get(token)
        if claims is None:
            claims = await self._verify_signature(token)
            self._signed[token] = claims
            if len(self._signed) > CACHED:
                self._signed.popitem(last=False)
        if not _within(claims, at or datetime.now(UTC)):
            raise Unauthenticated("The token has expired.", code="token_expired")
        return claims

    async def _verify_signature(self, token: str) -> dict[str, Any]:
        """Everything about a token that does not change with time, so that it is checked once."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is malformed.") from error
        kid = header.get("kid")
        if header.get("typ") != self._typ or not _is_key_id(kid):
            raise Unauthenticated("The token is of another kind.")
        key = await self._keys.get(kid)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is not valid.") from error
        return claims


def _within(claims: dict[str, Any], moment: datetime) -> bool:
    try:
        issued = datetime.fromtimestamp(int(claims["iat"]), UTC)
        expires = datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (ValueError, OverflowError, TypeError):
        return False
    return issued - _LEEWAY <= moment < expires


class GrantVerifier:
    """The only door to a `Principal` in a service."""

    def __init__(self, keys: KeyRing, service: str) -> None:
        self._tokens = TokenVerifier(keys, "grant+jwt", service)

    async def verify(self, grant: str | None, scope: GrantScope, *, at: datetime | None = None) -> Principal:
        if not grant:
            raise Unauthenticated("A grant is needed.")
        try:
            claims = await self._tokens.verify(grant, at=at)
        except UnknownKey as error:
            # Grants come from auth itself: its key may be on its way here. Never a reason to refuse.
            raise Unavailable("The key of this grant is not known here.", code="unknown_key") from error
        try:
            project = claims.get("prj")
            principal = Principal(
                user_id=uuid.UUID(claims["sub"]),
                username=str(claims["usr"]),
                role=PlatformRole(claims["rol"]),
                project_id=uuid.UUID(project) if project else None,
                project_role=ProjectRole(claims["prr"]) if project else None,
            )
        except (KeyError, ValueError) as error:
            raise Unauthenticated("The grant is incomplete.") from error
        if scope is GrantScope.PROJECT and principal.project_id is None:
            raise Forbidden("A grant for a project is needed.")
        return principal


def encode_key(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_key(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
