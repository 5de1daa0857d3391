"""Signed tokens: the keys, how they are found, and what is checked of a token before it is believed."""

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signalbox_common.contracts.base import TOKEN
from signalbox_common.entries import Entry
from signalbox_common.errors import KeyRetired, SignalboxError, TokenExpired, Unauthenticated
from signalbox_common.keys import decode_raw, encode_raw

ISSUER = "signalbox"
ACCESS, GRANT = "at+jwt", "grant+jwt"
ACCESS_AUDIENCE = "signalbox-api"
GRANT_LIFE = timedelta(seconds=60)
LONGEST_LIFE = timedelta(hours=1)
"""No token lives longer; a retired key vouches for nothing that ends later than this after its retirement."""
CACHED = 2_000
"""Tokens whose signature is remembered as good: a grant comes with every request of its minute."""
KEY_ID_LENGTH = 64
MAX_TOKEN = 8_192
_LEEWAY = timedelta(seconds=5)
_UNKNOWN_FOR = 2.0
_LOOKED_AT_AGAIN = 30.0
_SIGNATURES = jwt.PyJWS(algorithms=["EdDSA"])
_KNOWN_HEADERS = frozenset({"alg", "typ", "kid"})


@dataclass(frozen=True)
class PublishedKey:
    """The public half of a signing key, as everybody may read it."""

    raw: bytes
    retired_at: float | None = None
    """When it stopped signing, in seconds since 1970."""
    distrusted: bool = False

    @property
    def entry(self) -> Entry:
        """A key is first good, then retired, then distrusted, and never goes back."""
        number = 1 + (self.retired_at is not None) + 2 * self.distrusted
        about = {"x": encode_raw(self.raw), "retiredAt": self.retired_at, "distrusted": self.distrusted}
        return Entry(number, about)

    @staticmethod
    def of(entry: Entry) -> "PublishedKey":
        about = entry.about
        return PublishedKey(decode_raw(about["x"]), about["retiredAt"], about["distrusted"])


FetchKey = Callable[[str], Awaitable[PublishedKey | None]]
"""Finds the key of a key id; None where there is none; raises where nobody can be asked."""


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
    """Public keys by id, kept, and looked at again now and then in case one was retired."""

    def __init__(self, fetch: FetchKey) -> None:
        self._fetch = fetch
        self._keys: dict[str, tuple[PublishedKey, Ed25519PublicKey, float]] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        """Ids that were asked for in vain, and until when they are not asked for again."""

    async def get(self, kid: str) -> tuple[PublishedKey, Ed25519PublicKey]:
        known = self._keys.get(kid)
        if known is not None and known[2] > time.monotonic():
            return known[:2]
        if self._unknown.get(kid, 0.0) >= time.monotonic():
            raise UnknownKey
        try:
            published = await self._fetch(kid)
        except SignalboxError:
            if known is None:
                raise
            return known[:2]
        if known is not None and (published is None or published.entry.number < known[0].entry.number):
            published = known[0]  # what was said once is not unsaid
        if published is None:
            self._unknown[kid] = time.monotonic() + _UNKNOWN_FOR
            if len(self._unknown) > CACHED:
                self._unknown.popitem(last=False)
            raise UnknownKey
        self._unknown.pop(kid, None)
        key = Ed25519PublicKey.from_public_bytes(published.raw)
        self._keys[kid] = (published, key, time.monotonic() + _LOOKED_AT_AGAIN)
        return published, key

    def look_again(self, kid: str) -> None:
        """Something was said about this key: what is known of it is old."""
        known = self._keys.get(kid)
        if known is not None:
            self._keys[kid] = (*known[:2], 0.0)


def _is_key_id(kid: object) -> TypeGuard[str]:
    """Whether it may become part of a subject; unbounded, it would break the connection to NATS."""
    return isinstance(kid, str) and len(kid) <= KEY_ID_LENGTH and TOKEN.fullmatch(kid) is not None


class TokenVerifier:
    """Checks tokens of one type for one audience."""

    def __init__(self, keys: KeyRing, typ: str, audience: str) -> None:
        self._keys = keys
        self._typ = typ
        self._audience = audience
        self._signed: OrderedDict[str, tuple[str, dict[str, Any]]] = OrderedDict()

    async def verify(self, token: str, *, at: datetime | None = None) -> dict[str, Any]:
        """The claims of a token that was valid at that time (now, unless said otherwise)."""
        known = self._signed.get(token)
        if known is not None:
            kid, claims = known
            published, _ = await self._keys.get(kid)
        else:
            published, kid, claims = await self._verify_signature(token)
            self._signed[token] = kid, claims
            if len(self._signed) > CACHED:
                self._signed.popitem(last=False)
        if not _within(claims, at or datetime.now(UTC)):
            raise TokenExpired
        if not _vouched_for(published, claims):
            raise KeyRetired
        return claims

    async def _verify_signature(self, token: str) -> tuple[PublishedKey, str, dict[str, Any]]:
        """Everything about a token that does not change with time, so that it is checked once."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated("The token is malformed.")
        header = _header(token)
        kid = header.get("kid")
        if header.get("typ") != self._typ or not _is_key_id(kid):
            raise Unauthenticated("The token is of another kind.")
        if not _KNOWN_HEADERS.issuperset(header) or header.get("alg") != "EdDSA":
            # Our own carry nothing else; `crit`, `jwk`, `jku` and `x5u` are attempts to be clever.
            raise Unauthenticated("The token is not one of ours.")
        published, key = await self._keys.get(kid)
        try:
            claims = json.loads(_SIGNATURES.decode(token, key, algorithms=["EdDSA"]))
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated("The token is not valid.") from error
        if not isinstance(claims, dict) or not self._complete(claims):
            raise Unauthenticated("The token is not valid.")
        return published, kid, claims | {"kid": kid}

    def _complete(self, claims: dict[str, Any]) -> bool:
        """Whether it is one of ours for this audience; none of ours has more than one, or an `nbf`."""
        return (
            claims.get("iss") == ISSUER
            and claims.get("aud") == self._audience
            and isinstance(claims.get("sub"), str)
            and type(claims.get("iat")) is int
            and type(claims.get("exp")) is int
            and "nbf" not in claims
        )


def _header(token: str) -> dict[str, Any]:
    """What the token says about itself; nothing of it is believed before its signature is checked."""
    try:
        header = json.loads(decode_raw(token.partition(".")[0]))
    except (ValueError, RecursionError) as error:
        raise Unauthenticated("The token is malformed.") from error
    if not isinstance(header, dict):
        raise Unauthenticated("The token is malformed.")
    return header


def _within(claims: dict[str, Any], moment: datetime) -> bool:
    try:
        issued = datetime.fromtimestamp(claims["iat"], UTC)
        expires = datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, OverflowError, OSError):
        return False
    return issued - _LEEWAY <= moment < expires


def _vouched_for(key: PublishedKey, claims: dict[str, Any]) -> bool:
    if key.distrusted:
        return False
    return key.retired_at is None or float(claims["exp"]) <= key.retired_at + LONGEST_LIFE.total_seconds()
