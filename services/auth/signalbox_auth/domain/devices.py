"""Signing in on a device: the codes, and what a poll is answered with."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from signalbox_auth.errors import DeviceDenied, DeviceExpired, DevicePending, DeviceTooFast

LIFE = timedelta(minutes=10)
INTERVAL = timedelta(seconds=5)
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; nothing that is read as something else
_HALF = 4


@dataclass(frozen=True)
class Device:
    device_hash: bytes
    user_code: str
    client_name: str
    address: str | None
    agent: str | None
    requested_at: datetime
    expires_at: datetime
    interval: timedelta
    polled_at: datetime | None = None
    approved: bool | None = None
    user_id: uuid.UUID | None = None


def new_codes() -> tuple[str, str]:
    """The device's own secret, and what its person types."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(2 * _HALF))
    return f"sbx_dev_{secrets.token_urlsafe(32)}", f"{letters[:_HALF]}-{letters[_HALF:]}"


def hash_of(device_code: str) -> bytes:
    return hashlib.sha256(device_code.encode()).digest()


def normalized(user_code: str) -> str:
    letters = user_code.upper().replace("-", "").replace(" ", "")
    return f"{letters[:_HALF]}-{letters[_HALF:]}"


def check_poll(device: Device, now: datetime) -> None:
    """Raises what the device is to be told, unless it was approved."""
    if now >= device.expires_at:
        raise DeviceExpired
    if device.polled_at is not None and now - device.polled_at < device.interval:
        raise DeviceTooFast
    if device.approved is None:
        raise DevicePending
    if not device.approved:
        raise DeviceDenied
