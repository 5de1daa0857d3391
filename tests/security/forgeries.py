"""Tokens that must open nothing, each with what is wrong with it and what it is refused with."""

import base64
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.forgery import Signer, assembled, encoded

MALFORMED, EXPIRED, UNKNOWN = "unauthenticated", "token_expired", "unknown_key"
HOUR = 3600


def forgeries(
    signer: Signer, typ: str, sound: dict[str, Any], jwk: dict[str, str]
) -> dict[str, tuple[str, str]]:
    """What is wrong with a token, the token, and what it is refused with."""
    now = int(time.time())
    header = {"typ": typ, "kid": signer.kid}
    real = {"typ": typ, "kid": jwk["kid"]}
    hmac = real | {"alg": "HS256"}
    stranger = Ed25519PrivateKey.generate()
    own_jwk = jwk | {"x": encoded(stranger.public_key().public_bytes_raw())}
    published = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "="))
    pem = published.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def headed(key: Any = signer.private, **changes: Any) -> str:
        return assembled(header | changes, sound, key)

    def claiming(**changes: Any) -> str:
        return assembled(header, sound | changes, signer.private)

    malformed = {
        "alg none": assembled(real | {"alg": "none"}, sound, None),
        "alg None, signed": assembled(real | {"alg": "None"}, sound, stranger),
        "no alg": assembled(real | {"alg": None}, sound, stranger),
        "no signature": assembled(real, sound, None),
        "HMAC with the public key": assembled(hmac, sound, published.public_bytes_raw()),
        "HMAC with its text": assembled(hmac, sound, jwk["x"].encode()),
        "HMAC with its PEM": assembled(hmac, sound, pem),
        "HMAC called EdDSA": assembled(real, sound, published.public_bytes_raw()),
        "EdDSA called ES256": headed(alg="ES256"),
        "Ed25519 by its other name": headed(alg="Ed25519"),
        "foreign key": assembled(real, sound, stranger),
        "foreign key, brought along": assembled(real | {"jwk": own_jwk}, sound, stranger),
        "own key, brought along": headed(jwk=own_jwk),
        "key by address": headed(jku="http://127.0.0.1/keys", x5u="http://127.0.0.1/x"),
        "certificates": headed(x5c=["AAAA"]),
        "critical extension": headed(crit=["exp"]),
        "critical extension of nothing": headed(crit=[]),
        "unencoded payload": headed(b64=False),
        "kid that climbs": headed(kid="../../etc/passwd"),
        "kid that is a subject": headed(kid="ktest.>"),
        "kid that is a statement": headed(kid="k' or '1'='1"),
        "kid with NUL": headed(kid="ktest\x00"),
        "kid with a line break": headed(kid="ktest\r\nHPUB"),
        "kid in capitals": headed(kid="KTEST"),
        "kid without end": headed(kid="k" * 5_000),
        "kid that is a number": headed(kid=7),
        "kid that is a list": headed(kid=["ktest"]),
        "kid that is an object": headed(kid={"ktest": 1}),
        "no kid": headed(kid=None),
        "another kind": headed(typ="JWT"),
        "kind that is a list": headed(typ=[typ]),
        "no kind": headed(typ=None),
        "another audience": claiming(aud="tasks"),
        "no audience": claiming(aud=None),
        "audience that is an object": claiming(aud={"signalbox-api": 1}),
        "another issuer": claiming(iss="mallory"),
        "no issuer": claiming(iss=None),
        "not before later": claiming(nbf=now + HOUR),
        "nobody": claiming(sub=None),
        "person that is no id": claiming(sub="root"),
        "person that is a number": claiming(sub=1),
        "no beginning": claiming(iat=None),
        "no end": claiming(exp=None),
        "end that is a word": claiming(exp="never"),
        "end that is a list": claiming(exp=[now + HOUR]),
        "beginning that is none": claiming(iat=float("nan")),
        "endless": claiming(exp=float("inf")),
        "huge": headed() + "A" * 20_000,
        "four parts": headed() + ".AA",
        "two parts": headed().rpartition(".")[0],
        "changed payload": _with_payload_of(claiming(usr="admin"), headed()),
        "text": "nonsense",
        "dots": "..",
        "many dots": "." * 500,
    }
    expired = {
        "expired": claiming(iat=now - 2 * HOUR, exp=now - HOUR),
        "expired just now": claiming(exp=now - 1),
        "issued later": claiming(iat=now + HOUR, exp=now + 2 * HOUR),
        "end beyond time": claiming(exp=10**30),
    }
    unknown = {"unknown kid": headed(kid="k0123456789abcdef"), "empty kid-like": headed(kid="k")}
    return (
        {name: (token, MALFORMED) for name, token in malformed.items()}
        | {name: (token, EXPIRED) for name, token in expired.items()}
        | {name: (token, UNKNOWN) for name, token in unknown.items()}
    )


def _with_payload_of(other: str, token: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{other.split('.')[1]}.{signature}"
