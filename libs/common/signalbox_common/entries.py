"""Entries of the buckets that auth alone writes: signed and numbered.

Whoever got to write there, by whatever way, is not believed: an entry counts where the root key has signed it
for this bucket and this name, and of those that count the one with the highest number. What does not count is
as if it were not there, and is reported.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import jwt
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signalbox_common.keys import decode_raw, derive, encode_raw

_TYPE = "entry+jws"
_JWS = jwt.PyJWS(algorithms=["EdDSA"])


@dataclass(frozen=True)
class Entry:
    """What auth says under a name, and the how-manieth word it is."""

    number: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """The newest entry of a name, and how many came after a good one that nobody believes."""

    entry: Entry | None
    ignored: int
    unsigned: bytes | None = None
    """Without a good one: the last without any signature, as of a version before there were any."""


class RootKey:
    """Signs entries; auth alone holds it."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(decode_raw(text))

    @classmethod
    def new(cls) -> Self:
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def derived(cls, secret: str) -> Self:
        """For development: whoever knows the secret has it."""
        return cls(derive(secret, "root-key"))

    @property
    def seed(self) -> str:
        return encode_raw(self._private.private_bytes_raw())

    @property
    def anchor(self) -> str:
        """The public half, as every program is given it."""
        return encode_raw(self._private.public_key().public_bytes_raw())

    def sign(self, bucket: str, name: str, entry: Entry) -> bytes:
        said = {"bucket": bucket, "name": name, "number": entry.number, "about": entry.about}
        return _JWS.encode(
            json.dumps(said).encode(), self._private, algorithm="EdDSA", headers={"typ": _TYPE}
        ).encode()


class TrustAnchor:
    """Tells the entries that the root key has signed from all others."""

    def __init__(self, public: str) -> None:
        try:
            self._public = Ed25519PublicKey.from_public_bytes(decode_raw(public))
        except (ValueError, InvalidKey) as error:
            raise ValueError("the trust anchor is no public Ed25519 key") from error

    def newest(self, bucket: str, name: str, stored: Iterable[bytes]) -> Found:
        """Of all that lies under one name, oldest first."""
        newest: Entry | None = None
        ignored = 0
        unsigned: bytes | None = None
        for each in stored:
            entry = self._verified(bucket, name, each)
            if entry is None:
                ignored += 1
                unsigned = unsigned if _looks_signed(each) else each
            elif newest is None:
                newest, ignored, unsigned = entry, 0, None
            elif entry.number >= newest.number:
                newest = entry
            else:
                ignored += 1  # an earlier word, said again
        return Found(newest, ignored, unsigned if newest is None else None)

    def _verified(self, bucket: str, name: str, stored: bytes) -> Entry | None:
        try:
            decoded = _JWS.decode_complete(stored, self._public, algorithms=["EdDSA"])
            said = json.loads(decoded["payload"])
            fits = decoded["header"].get("typ") == _TYPE and (said["bucket"], said["name"]) == (bucket, name)
            return Entry(said["number"], said["about"]) if fits else None
        except (jwt.PyJWTError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _looks_signed(stored: bytes) -> bool:
    return stored.count(b".") == 2 and not stored.startswith(b"{")
