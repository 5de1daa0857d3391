"""Logging in by approving a code in a browser (RFC 8628)."""

import socket
import time
from collections.abc import Callable

import httpx
from pydantic import BaseModel

from signalbox_cli.client import Client, Tokens
from signalbox_cli.session import Session, SessionError
from signalbox_common.errors import SignalboxError

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_BY = 5
_NAME_LENGTH = 100


class LoginFailed(SessionError):
    """Nobody has approved it, and nobody will."""


class DeviceAuthorization(BaseModel):
    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int = 5


def start(http: Client) -> DeviceAuthorization:
    name = f"signalbox on {socket.gethostname()}"[:_NAME_LENGTH]
    answer = http.post("/api/v1/auth/device/code", json={"client_name": name})
    return DeviceAuthorization.model_validate_json(answer.content)


def wait(
    http: Client,
    device: DeviceAuthorization,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Session:
    """Asks, no more often than it may, until somebody has decided."""
    interval = device.interval
    expires_at = now() + device.expires_in
    while now() < expires_at:
        sleep(interval)
        try:
            answer = http.post(
                "/api/v1/auth/device/token",
                json={"grant_type": GRANT_TYPE, "device_code": device.device_code},
            )
            return Tokens.model_validate_json(answer.content).session()
        except httpx.TransportError:
            continue  # it may be back before the code has expired
        except SignalboxError as error:
            if error.code == "access_denied":
                raise LoginFailed("the login was refused in the browser") from None
            if error.code == "expired_token":
                break
            if error.code == "slow_down" or error.status == 429:
                interval += SLOWER_BY
            elif error.code != "authorization_pending" and error.final:
                raise
    raise LoginFailed("the code has expired before anybody approved it: log in again")
