"""What every secret store does, and the ways in which it can fail."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from signalbox_common.errors import Invalid, NotFound, Unavailable

MAX_NAME = 200
MAX_VALUE = 64 * 1024
"""The largest value, in bytes."""

_NAME = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*")


class SecretNotFound(NotFound):
    code = "secret_not_found"
    detail = "There is no such secret."


class SecretStoreUnavailable(Unavailable):
    code = "secrets_unavailable"
    detail = "Secrets are not available at the moment."


class BadSecretName(Invalid):
    code = "invalid_secret_name"
    detail = (
        f"The name of a secret has at most {MAX_NAME} characters: lower-case letters and digits, "
        "with single . _ / or - between them."
    )


class SecretTooLarge(Invalid):
    code = "too_large"
    detail = f"A secret has at most {MAX_VALUE} bytes."


class SecretUnreadable(Exception):
    """A secret was altered, or its key is not here.

    A fault of the installation and no answer to a request: whoever asks sees an internal error, and a
    message that needs the secret becomes a dead letter, to be handed over again after the repair.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the secret {name} cannot be read: {reason}")


@dataclass(frozen=True)
class Secret:
    name: str
    value: bytes = field(repr=False)
    version: int
    """Grows with every put; begins again at 1 after a delete."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RotationResult:
    """What a rotation did."""

    key_id: str
    rewrapped: int
    unreadable: int = 0
    """Secrets that were left as they were, because they cannot be read."""


class SecretStore(Protocol):
    """Where one service keeps its secrets.

    Beside the errors above, a put may end in `OutcomeUnknown`; doing it again is safe.
    """

    async def put(self, name: str, value: bytes) -> Secret:
        """Stores a new version, which takes the place of the one before."""

    async def get(self, name: str) -> Secret:
        """The newest version; raises SecretNotFound where there is none."""

    async def delete(self, name: str) -> None:
        """Afterwards there is no such secret, as there may have been none before."""

    async def names(self, prefix: str = "") -> list[str]:
        """The names that begin so, in order."""

    async def rotate(self) -> RotationResult:
        """Makes a new key and wraps all secrets with it, while others go on reading and writing them.

        Interrupted anywhere, it leaves everything readable, and can be run again.
        """

    async def check(self) -> None:
        """Raises when the store cannot work."""


def check_name(name: str) -> None:
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise BadSecretName


def check_value(value: bytes) -> None:
    if len(value) > MAX_VALUE:
        raise SecretTooLarge
