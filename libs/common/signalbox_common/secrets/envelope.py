"""Envelope encryption: every value under a data key of its own, which a key-encrypting key wraps.

AES-256-GCM throughout. Each ciphertext is bound to the row that it belongs to, so that rows can neither be
swapped nor altered; wrapping the data key anew leaves the value as it is.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class DecryptionFailed(Exception):
    """A ciphertext that does not open with this key in this place."""


@dataclass(frozen=True)
class Key:
    """A key-encrypting key."""

    id: str
    created_at: datetime
    material: bytes = field(repr=False)


@dataclass(frozen=True)
class Place:
    """Where a value belongs."""

    schema: str
    name: str
    version: int


def fresh_key() -> bytes:
    return AESGCM.generate_key(256)


def seal(data_key: bytes, value: bytes, place: Place, created_at: datetime, updated_at: datetime) -> bytes:
    return _encrypt(data_key, value, _value_context(place, created_at, updated_at))


def unseal(data_key: bytes, sealed: bytes, place: Place, created_at: datetime, updated_at: datetime) -> bytes:
    return _decrypt(data_key, sealed, _value_context(place, created_at, updated_at))


def wrap(key: Key, data_key: bytes, place: Place) -> bytes:
    return _encrypt(key.material, data_key, _key_context(key, place))


def unwrap(key: Key, wrapped: bytes, place: Place) -> bytes:
    return _decrypt(key.material, wrapped, _key_context(key, place))


def _value_context(place: Place, created_at: datetime, updated_at: datetime) -> bytes:
    times = (moment.astimezone(UTC).isoformat() for moment in (created_at, updated_at))
    return json.dumps(["value", place.schema, place.name, place.version, *times]).encode()


def _key_context(key: Key, place: Place) -> bytes:
    return json.dumps(["data key", key.id, place.schema, place.name, place.version]).encode()


def _encrypt(key: bytes, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def _decrypt(key: bytes, sealed: bytes, context: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed from error
