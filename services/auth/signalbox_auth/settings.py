"""The environment of the auth service."""

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from signalbox_auth.domain.mail import Relay
from signalbox_common.entries import RootKey
from signalbox_common.settings import DEVELOPMENT_SECRET, QuotaSettings, SecretStoreSettings
from signalbox_common.tokens import LONGEST_LIFE


class AuthSettings(SecretStoreSettings, QuotaSettings):
    service: Literal["auth"] = "auth"
    root_key: SecretStr = Field(default_factory=lambda: SecretStr(RootKey.derived(DEVELOPMENT_SECRET).seed))
    """Signs what everybody believes of the buckets: the signing keys, and how far the audit log has come."""
    admin_password: SecretStr | None = None
    """The password that the first admin gets when there is none yet."""
    registration: Literal["open", "invite", "closed"] | None = None
    """Whether people may register themselves, with an invitation, or not at all; by default as the
    environment is."""
    public_url: str | None = None
    """What links in mails begin with."""
    smtp_url: SecretStr | None = None
    """Where mail is handed over: `smtp://user:password@host:587`, or `smtps://` for TLS from the start;
    none is sent without it."""
    mail_from: str = "Signalbox <signalbox@localhost.localdomain>"

    access_token_minutes: int = Field(default=15, ge=1, le=int(LONGEST_LIFE.total_seconds() // 60))
    session_idle_days: int = Field(default=30, ge=1)
    """A session that is not used for this long is over."""
    session_longest_days: int = Field(default=180, ge=1)
    projects_per_person: int | None = Field(default=500, ge=1)
    """That somebody has made and that are there, or were deleted within the last day."""
    argon2_memory_kib: int = Field(default=19_456, ge=8)
    argon2_time: int = Field(default=2, ge=1)
    argon2_parallelism: int = Field(default=1, ge=1)
    argon2_concurrency: int = Field(default=2, ge=1)
    """Passwords hashed at the same time: logins must not exhaust the machine."""
    argon2_queue: int = Field(default=150, ge=1)
    """Logins that may wait for that; more are refused at once with 503."""
    argon2_register_queue: int = Field(default=20, ge=1)
    """The same of those who register, one at a time and beside the logins."""

    @model_validator(mode="after")
    def _mail_is_complete(self) -> "AuthSettings":
        if self.smtp_url is not None:
            Relay.parse(self.smtp_url.get_secret_value())
            if self.public_url is None:
                raise ValueError("SIGNALBOX_PUBLIC_URL must be set where SIGNALBOX_SMTP_URL is")
        return self

    def registers(self) -> Literal["open", "invite", "closed"]:
        """In production nobody does, unless it is said."""
        return self.registration or ("open" if self.env == "development" else "closed")
