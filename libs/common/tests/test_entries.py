"""Entries of the buckets: what is believed of all that lies under one name."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signalbox_common.entries import Entry, RootKey, TrustAnchor
from signalbox_common.keys import decode_raw

ROOT = RootKey.derived("test")
ANCHOR = TrustAnchor(ROOT.anchor)
FIRST, SECOND = Entry(1, {"x": "first"}), Entry(2, {"x": "second"})


def signed(entry: Entry, *, root: RootKey = ROOT, bucket: str = "keys", name: str = "k1") -> bytes:
    return root.sign(bucket, name, entry)


def unlike(typ: str | None = "entry+jws", **said: object) -> bytes:
    """Signed by the root key, but not as it signs."""
    private = Ed25519PrivateKey.from_private_bytes(decode_raw(ROOT.seed))
    body = {"bucket": "keys", "name": "k1", "number": 9, "about": {}} | said
    headers = {"typ": typ} if typ else None
    return jwt.PyJWS().encode(json.dumps(body).encode(), private, algorithm="EdDSA", headers=headers).encode()


FORGED = {
    "rubbish": b"rubbish",
    "empty": b"",
    "not text": b"\xff\x00.\xff.\xff",
    "nested": b"[" * 100_000,
    "unsigned": json.dumps({"x": "x", "retiredAt": 1.5, "distrusted": False}).encode(),
    "by another key": signed(Entry(9, {}), root=RootKey.new()),
    "for another name": signed(Entry(9, {}), name="k2"),
    "for another bucket": signed(Entry(9, {}), bucket="audit"),
    "changed": signed(Entry(9, {}))[:-4] + b"AAAA",
    "without a type": unlike(None),
    "a token": unlike("grant+jwt"),
    "no bucket": unlike(bucket=None),
    "not signed at all": jwt.PyJWS().encode(b"{}", "", algorithm="none").encode(),
}


def test_what_auth_has_signed_counts() -> None:
    found = ANCHOR.newest("keys", "k1", [signed(FIRST), signed(SECOND)])
    assert (found.entry, found.ignored) == (SECOND, 0)


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_what_others_put_there_is_as_if_it_were_not(forged: bytes) -> None:
    found = ANCHOR.newest("keys", "k1", [signed(FIRST), forged])
    assert (found.entry, found.ignored) == (FIRST, 1)
    assert ANCHOR.newest("keys", "k1", [forged]).entry is None


def test_an_earlier_word_said_again_does_not_count() -> None:
    found = ANCHOR.newest("keys", "k1", [signed(SECOND), signed(FIRST)])
    assert (found.entry, found.ignored) == (SECOND, 1)


def test_what_was_there_before_signatures_is_told_apart() -> None:
    old = FORGED["unsigned"]
    assert ANCHOR.newest("keys", "k1", [old]).unsigned == old
    followed = ANCHOR.newest("keys", "k1", [old, signed(FIRST)])
    assert (followed.entry, followed.ignored, followed.unsigned) == (FIRST, 0, None)


def test_nothing_is_nothing() -> None:
    found = ANCHOR.newest("keys", "k1", [])
    assert (found.entry, found.ignored, found.unsigned) == (None, 0, None)


@pytest.mark.parametrize("public", ["", "short", ROOT.anchor + "AAAA"])
def test_an_anchor_that_is_no_key_is_refused(public: str) -> None:
    with pytest.raises(ValueError, match="trust anchor"):
        TrustAnchor(public)
