"""Tokens as auth would sign them, and as it never would."""

import base64
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signalbox_common.contracts.streams import KEY_BUCKET
from signalbox_common.tokens import ACCESS, ACCESS_AUDIENCE, GRANT, ISSUER, PublishedKey
from tests.support.factories import Person
from tests.support.installation import Installation


@dataclass(frozen=True)
class Signer:
    """A key pair of the test's own; once it is published, everybody takes it for one of auth's."""

    kid: str = "ktest"
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    async def publish(
        self, installation: Installation, *, retired_at: float | None = None, distrusted: bool = False
    ) -> None:
        published = PublishedKey(self.public, retired_at, distrusted)
        signed = installation.root.sign(KEY_BUCKET, self.kid, published.entry)
        async with installation.nats() as client:
            await client.jetstream().publish(f"$KV.{KEY_BUCKET}.{self.kid}", signed)

    def access(self, person: Person, claims: dict[str, Any] | None = None, **header: Any) -> str:
        """An access token of that person; `claims` are set over the sound ones, None takes one out."""
        return self._token(ACCESS, access_claims(person) | (claims or {}), header)

    def grant(self, person: Person, claims: dict[str, Any] | None = None, **header: Any) -> str:
        """The same for a grant to auth."""
        return self._token(GRANT, grant_claims(person) | (claims or {}), header)

    def _token(self, typ: str, claims: dict[str, Any], header: dict[str, Any]) -> str:
        return assembled({"typ": typ, "kid": self.kid} | header, claims, self.private)


def access_claims(person: Person) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "iss": ISSUER,
        "aud": ACCESS_AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
        "sub": person.id,
        "usr": person.username,
        "sid": person.session_id,
    }


def grant_claims(person: Person) -> dict[str, Any]:
    return access_claims(person) | {"aud": "auth", "rol": "user", "ver": 1}


def assembled(header: dict[str, Any], claims: dict[str, Any], key: Ed25519PrivateKey | bytes | None) -> str:
    """Put together by hand, as no library would: signed with Ed25519, with HMAC (bytes), or not at all."""
    head = {"alg": "EdDSA"} | header
    body = {name: value for name, value in claims.items() if value is not None}
    text = f"{_part(head)}.{_part(body)}"
    return f"{text}.{encoded(_signature(text.encode(), key))}"


def _signature(text: bytes, key: Ed25519PrivateKey | bytes | None) -> bytes:
    if key is None:
        return b""
    return hmac.digest(key, text, "sha256") if isinstance(key, bytes) else key.sign(text)


def _part(data: dict[str, Any]) -> str:
    return encoded(json.dumps(data).encode())


def encoded(raw: bytes) -> str:
    """As all parts of a token are."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
