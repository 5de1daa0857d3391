"""Keys that are derived from `SECRET_KEY`, and ids made with them."""

import base64
import hashlib
import hmac
import json
import os
import re
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(secret: str, purpose: str) -> bytes:
    """A key of its own for every purpose; knowing one tells nothing about another."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=f"signalbox/{purpose}".encode()).derive(
        secret.encode()
    )


def uuid7() -> uuid.UUID:
    """A time-ordered id (RFC 9562)."""
    millis = time.time_ns() // 1_000_000
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    return uuid.UUID(bytes=millis.to_bytes(6, "big") + bytes(tail))


def made_at(identifier: uuid.UUID) -> float:
    """The time in one that is ordered by time, in seconds."""
    return (identifier.int >> 80) / 1000


def is_canonical_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


class CommandIds:
    """Command ids and request digests, the same from every gateway and after every restart."""

    def __init__(self, secret: str) -> None:
        self._id_key = derive(secret, "command-id")
        self._digest_key = derive(secret, "command-digest")

    def for_key(self, user: str, method: str, path: str, idempotency_key: str) -> uuid.UUID:
        return _uuid8(self._id_key, user, method, path, idempotency_key)

    def digest(
        self, path: str, query: Mapping[str, Any], project: uuid.UUID | None, body: Mapping[str, Any]
    ) -> str:
        text = json.dumps([path, dict(query), str(project), dict(body)], sort_keys=True).encode()
        return hmac.digest(self._digest_key, text, hashlib.sha256).hex()


class StepIds:
    """Command ids of what a service asks of others: the same for one step, however often it is asked."""

    def __init__(self, secret: str) -> None:
        self._key = derive(secret, "step-id")

    def for_step(self, *parts: str) -> uuid.UUID:
        """A run, what it is about to do, and the how-manieth time."""
        return _uuid8(self._key, *parts)


def _uuid8(key: bytes, *parts: str) -> uuid.UUID:
    """An id that nobody can foresee without the key (RFC 9562)."""
    raw = bytearray(hmac.digest(key, json.dumps(parts).encode(), hashlib.sha256)[:16])
    raw[6] = 0x80 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return uuid.UUID(bytes=bytes(raw))


@dataclass(frozen=True)
class OperationRef:
    """What an operation id says about itself."""

    command_id: uuid.UUID
    user_id: uuid.UUID
    project_id: uuid.UUID | None
    command: str
    created_at: datetime

    @property
    def service(self) -> str:
        return self.command.split(".")[1]


class OperationIds:
    """Opaque ids `op_…` that carry their own meaning under a MAC, so that no table of them is needed."""

    _HEAD = struct.Struct(">B16s16s16sQ")
    _FORM = re.compile(r"op_[A-Za-z0-9_-]{80,240}")
    _MAC = 16

    def __init__(self, secret: str) -> None:
        self._key = derive(secret, "operation-id")

    def mint(self, ref: OperationRef) -> str:
        body = (
            self._HEAD.pack(
                1,
                ref.command_id.bytes,
                ref.user_id.bytes,
                ref.project_id.bytes if ref.project_id else bytes(16),
                int(ref.created_at.timestamp() * 1000),
            )
            + ref.command.encode()
        )
        return "op_" + encode_raw(body + self._mac(body))

    def read(self, text: str) -> OperationRef | None:
        """The meaning of an id that we made; None for anything else."""
        if not self._FORM.fullmatch(text):
            return None
        try:
            raw = decode_raw(text.removeprefix("op_"))
        except ValueError:
            return None
        body, mac = raw[: -self._MAC], raw[-self._MAC :]
        if len(body) <= self._HEAD.size or not hmac.compare_digest(mac, self._mac(body)):
            return None
        _version, command, user, project, millis = self._HEAD.unpack(body[: self._HEAD.size])
        return OperationRef(
            command_id=uuid.UUID(bytes=command),
            user_id=uuid.UUID(bytes=user),
            project_id=uuid.UUID(bytes=project) if any(project) else None,
            command=body[self._HEAD.size :].decode(),
            created_at=datetime.fromtimestamp(millis / 1000, UTC),
        )

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[: self._MAC]


class Sealer:
    """Encrypts small secrets at rest (AES-256-GCM)."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._aead = AESGCM(derive(secret, purpose))

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], context.encode())
        except InvalidTag as error:
            raise ValueError(f"{context} was not sealed with this SECRET_KEY") from error


def encode_raw(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
