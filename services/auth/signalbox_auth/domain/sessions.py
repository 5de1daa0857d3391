"""Sessions, and the chain of refresh tokens that keeps one alive.

A refresh token names its session and its place in the chain, and carries a MAC, so that one of ours is
known for one of ours however old it is. Each is derived from the one before, so that the successor can be
told again to whoever shows the predecessor, although only hashes are stored.
"""

import base64
import hashlib
import hmac
import secrets
import struct
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from signalbox_common.keys import derive

PREFIX = "sbx_rt_"
GRACE = timedelta(seconds=10)
"""How long the immediate predecessor is still answered, with the same successor."""
_HEAD = struct.Struct(">16sI32s")
_MAC = 16


@dataclass(frozen=True)
class RefreshToken:
    """One link of the chain."""

    session_id: uuid.UUID
    generation: int
    secret: bytes

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.secret).digest()


class RefreshTokens:
    """Makes refresh tokens and recognises its own."""

    def __init__(self, secret_key: str) -> None:
        self._chain_key = derive(secret_key, "refresh-chain")
        self._mac_key = derive(secret_key, "refresh-mac")

    def first(self, session_id: uuid.UUID) -> RefreshToken:
        return RefreshToken(session_id, 0, secrets.token_bytes(32))

    def after(self, token: RefreshToken) -> RefreshToken:
        body = _HEAD.pack(token.session_id.bytes, token.generation, token.secret)
        following = hmac.digest(self._chain_key, body, hashlib.sha256)
        return RefreshToken(token.session_id, token.generation + 1, following)

    def write(self, token: RefreshToken) -> str:
        body = _HEAD.pack(token.session_id.bytes, token.generation, token.secret)
        return PREFIX + base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def read(self, text: str) -> RefreshToken | None:
        """None for what we never made."""
        if not text.startswith(PREFIX) or not text.isascii():
            return None
        encoded = text.removeprefix(PREFIX)
        try:
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except ValueError:
            return None
        body, mac = raw[:-_MAC], raw[-_MAC:]
        if len(body) != _HEAD.size or not hmac.compare_digest(mac, self._mac(body)):
            return None
        session, generation, secret = _HEAD.unpack(body)
        return RefreshToken(uuid.UUID(bytes=session), generation, secret)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._mac_key, body, hashlib.sha256)[:_MAC]


@dataclass(frozen=True)
class Session:
    id: uuid.UUID
    user_id: uuid.UUID
    client: str | None
    address: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    generation: int
    refresh_hash: bytes
    rotated_at: datetime | None
    revoked_at: datetime | None = None

    def alive(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.expires_at


class Use(Enum):
    """What showing a refresh token means."""

    ROTATE = auto()
    AGAIN = auto()
    """The predecessor, shown by somebody who has not heard the answer: the same successor."""
    REUSED = auto()
    """An older one: somebody else has it too."""
    DEAD = auto()


def use_of(session: Session, token: RefreshToken, now: datetime) -> Use:
    if not session.alive(now):
        return Use.DEAD
    if token.generation == session.generation:
        return Use.ROTATE if hmac.compare_digest(token.hash, session.refresh_hash) else Use.DEAD
    recent = session.rotated_at is not None and now - session.rotated_at <= GRACE
    if token.generation == session.generation - 1 and recent:
        return Use.AGAIN
    return Use.REUSED if token.generation < session.generation else Use.DEAD
