"""API tokens: `sbx_pat_`, thirty random characters, and six that are a checksum of them."""

import hashlib
import secrets
import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime
from string import ascii_letters, digits

from signalbox_auth.errors import UnknownScope
from signalbox_common.contracts.base import EVENTS_AREA, Request, contracts_of

PREFIX = "sbx_pat_"
_ALPHABET = digits + ascii_letters
_RANDOM, _CHECKSUM = 30, 6


@dataclass(frozen=True)
class ApiToken:
    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None
    hint: str


def new_token() -> str:
    return random_token(PREFIX)


def random_token(prefix: str) -> str:
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return prefix + random + _checksum(random)


def well_formed(text: str) -> bool:
    """Whether it can be one of ours; tells a typo from a guess without asking anybody."""
    body = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or len(body) != _RANDOM + _CHECKSUM or not body.isascii():
        return False
    return secrets.compare_digest(_checksum(body[:_RANDOM]), body[_RANDOM:])


def hash_of(token: str) -> bytes:
    """Enough for a secret with 178 random bits; passwords need more."""
    return hashlib.sha256(token.encode()).digest()


def _checksum(random: str) -> str:
    number = zlib.crc32(random.encode())
    found = ""
    for _ in range(_CHECKSUM):
        number, rest = divmod(number, len(_ALPHABET))
        found = _ALPHABET[rest] + found
    return found


def checked_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes without repeats, each of an area that some contract is in."""
    needed = (contract.scope() for contract in contracts_of(Request))
    areas = {scope.partition(":")[0] for scope in needed if scope is not None} | {EVENTS_AREA}
    for scope in scopes:
        area = scope.partition(":")[0]
        if scope != "*" and area not in areas:
            raise UnknownScope(scope)
    return tuple(dict.fromkeys(scopes))
