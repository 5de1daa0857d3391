"""The environment of the auth service."""

from typing import Literal

from pydantic import Field, SecretStr

from signalbox_common.settings import DEVELOPMENT_SECRET, OwnerSettings


class AuthSettings(OwnerSettings):
    service: Literal["auth"] = "auth"
    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Wraps the signing keys at rest."""
    admin_password: SecretStr | None = None
    """The password that the first admin gets when there is none yet."""

    access_token_minutes: int = 15
    argon2_memory_kib: int = Field(default=19_456, ge=8)
    argon2_time: int = Field(default=2, ge=1)
    argon2_parallelism: int = Field(default=1, ge=1)
    argon2_concurrency: int = Field(default=2, ge=1)
    """Passwords hashed at the same time: logins must not exhaust the machine."""
