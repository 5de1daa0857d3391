"""The chain of the audit log: each line is sealed together with the one before."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from signalbox_common.keys import derive

BEGINNING = bytes(32)
FIELDS = (
    "sequence",
    "id",
    "at",
    "action",
    "outcome",
    "code",
    "actor",
    "actor_name",
    "credential",
    "resource",
    "project",
    "address",
    "correlation_id",
    "operation",
)


ADDED_FIELDS = ("act",)
"""Sealed only where they say something: lines from before them have the seals that they always had."""


class Chain:
    """Seals lines with a key, so that whoever can write to the database cannot make a chain of their own."""

    def __init__(self, secret_key: str) -> None:
        self._key = derive(secret_key, "audit-chain")

    def seal(self, before: bytes, line: dict[str, Any]) -> bytes:
        sealed = [_plain(line[name]) for name in FIELDS]
        sealed += [[name, _plain(line[name])] for name in ADDED_FIELDS if line[name] is not None]
        text = json.dumps(sealed, ensure_ascii=False)
        return hmac.digest(self._key, before + text.encode(), hashlib.sha256)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value if value is None or isinstance(value, int) else str(value)
