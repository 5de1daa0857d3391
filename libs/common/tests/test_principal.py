"""Forged tokens open nothing, and none of them is our fault."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signalbox_common.contracts.base import GrantScope
from signalbox_common.errors import Forbidden, Unauthenticated, Unavailable
from signalbox_common.keys import uuid7
from signalbox_common.principal import GrantVerifier
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import FetchKey, KeyRing, PublishedKey, SigningKey

KEY = SigningKey("k1", Ed25519PrivateKey.generate())
ABOUT = {"sub": str(uuid7()), "usr": "dev", "rol": "user", "ver": 1}
IN_PROJECT = ABOUT | {"prj": str(uuid7()), "prr": "owner"}
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def fetch(kid: str) -> PublishedKey | None:
    return PublishedKey(KEY.public) if kid == "k1" else None


def verifier(fetch: FetchKey = fetch, service: str = "auth") -> GrantVerifier:
    revoked = Revocations()
    revoked.heard()
    return GrantVerifier(KeyRing(fetch), revoked, service)


def forged(
    claims: dict[str, Any] | None = None, key: Any = None, algorithm: str = "EdDSA", **header: Any
) -> str:
    now = datetime.now(UTC)
    body = {"iss": "signalbox", "aud": "auth", "iat": now, "exp": now + HOUR} | ABOUT | (claims or {})
    headers = {"typ": "grant+jwt", "kid": "k1"} | header
    return jwt.encode(body, key or KEY._private, algorithm=algorithm, headers=headers)


async def test_a_good_grant_names_its_person_and_project() -> None:
    person = await verifier().verify(KEY.sign("grant+jwt", "auth", MINUTE, ABOUT), GrantScope.PERSON)
    assert (str(person.user_id), person.username, person.project_id) == (ABOUT["sub"], "dev", None)
    with pytest.raises(Forbidden):
        person.project()
    member = await verifier().verify(KEY.sign("grant+jwt", "auth", MINUTE, IN_PROJECT), GrantScope.PROJECT)
    assert str(member.project()) == IN_PROJECT["prj"]


def _unsigned(header: dict[str, Any], signature: str = "") -> str:
    def part(data: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": "signalbox", "aud": "auth", "iat": now, "exp": now + 3600} | ABOUT
    return f"{part({'typ': 'grant+jwt', 'kid': 'k1'} | header)}.{part(claims)}.{signature}"


FORGERIES = {
    "alg none": _unsigned({"alg": "none"}),
    "alg None": _unsigned({"alg": "None"}, "x"),
    "empty signature": _unsigned({"alg": "EdDSA"}),
    "HMAC with the public key": forged(key=KEY.public, algorithm="HS256"),
    "foreign key": forged(key=Ed25519PrivateKey.generate()),
    "inline key": forged(key=Ed25519PrivateKey.generate(), jwk={"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
    "key by address": forged(
        key=Ed25519PrivateKey.generate(), jku="http://127.0.0.1/", x5u="http://127.0.0.1/"
    ),
    "key id without end": forged(kid="k" * 5000),
    "kid that climbs": forged(kid="../../k1"),
    "kid that is a subject": forged(kid="k1.>"),
    "kid that is no text": _unsigned({"alg": "EdDSA", "kid": 7}, "x"),
    "critical extension": forged(crit=["exp"]),
    "another service": forged({"aud": "tasks"}),
    "several audiences, none of them us": forged({"aud": ["tasks", "git"]}),
    "another issuer": forged({"iss": "mallory"}),
    "another kind": forged(typ="at+jwt"),
    "expired": forged({"exp": datetime.now(UTC) - MINUTE}),
    "not yet": forged({"iat": datetime.now(UTC) + HOUR}),
    "not before": forged({"nbf": datetime.now(UTC) + HOUR}),
    "no end": forged({"exp": None}),
    "endless": forged({"exp": 10**30}),
    "no person": forged({"sub": "not a uuid"}),
    "odd role": forged({"rol": "root"}),
    "project without role": forged({"prj": str(uuid7())}),
    "empty": "",
    "dots": "..",
    "text": "nonsense",
    "huge": "a" * 100_000,
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_opens_nothing(name: str) -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(FORGERIES[name], GrantScope.PERSON)


async def test_a_grant_for_a_person_opens_no_project() -> None:
    with pytest.raises(Forbidden):
        await verifier().verify(forged(), GrantScope.PROJECT)


async def test_a_grant_with_an_unknown_key_is_asked_about_again_and_never_refused() -> None:
    known: list[str] = []

    async def later(kid: str) -> PublishedKey | None:
        return PublishedKey(KEY.public) if kid in known else None

    grants = verifier(later)
    with pytest.raises(Unavailable):
        await grants.verify(forged(), GrantScope.PERSON)
    known.append("k1")
    assert await verifier(later).verify(forged(), GrantScope.PERSON)


async def test_unknown_keys_are_not_asked_for_with_every_request() -> None:
    asked: list[str] = []

    async def nobody(kid: str) -> PublishedKey | None:
        asked.append(kid)
        return None

    keys = KeyRing(nobody)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await keys.get("k9")
    assert asked == ["k9"]


async def test_an_unreachable_key_store_is_not_the_persons_fault() -> None:
    async def nobody(_kid: str) -> PublishedKey | None:
        raise Unavailable

    with pytest.raises(Unavailable):
        await verifier(nobody).verify(forged(), GrantScope.PERSON)


async def test_what_counts_is_the_moment_of_acceptance() -> None:
    grant = forged(
        {"iat": datetime.now(UTC) - timedelta(days=1), "exp": datetime.now(UTC) - timedelta(hours=23)}
    )
    accepted = datetime.now(UTC) - timedelta(hours=23, minutes=30)
    assert await verifier().verify(grant, GrantScope.PERSON, at=accepted)
    with pytest.raises(Unauthenticated):
        await verifier().verify(grant, GrantScope.PERSON)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
async def test_nonsense_never_breaks_the_check(text: str) -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(text, GrantScope.PERSON)
