"""The environment of the gateway."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from signalbox_common.settings import DEVELOPMENT_SECRET, EnvironmentSettings, ServiceSettings

_LOCAL_ORIGINS = ("http://localhost:3000", "http://localhost:8000")


class EventSettings(EnvironmentSettings):
    """How much may come in of what happened outside; 0 is no bound."""

    quota_events_per_day: int = Field(default=100_000, ge=0)
    """Of one project, and over HTTP of one person in all projects."""
    quota_event_bytes_per_day: int = Field(default=64 * 1024 * 1024, ge=0)
    """The same in bytes: all projects share the 4 GiB of the stream of events."""


class FanoutSettings(ServiceSettings, EventSettings):
    service: Literal["fanout"] = "fanout"
    quota_dead_letters_per_day: int = Field(default=1_000, ge=0)
    """Of one project, for what comes in and is no event; what is more is counted, and not kept."""
    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Operation ids that others name are checked with it."""


class GatewaySettings(ServiceSettings, EventSettings):
    service: Literal["gateway"] = "gateway"
    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Command ids, request digests, operation ids and CSRF tokens are derived from it."""
    host: str = "127.0.0.1"
    port: int = 8000
    listen_fd: int | None = None
    """A listening socket handed down by the supervisor; wins over host and port."""

    public_url: str | None = None
    """How people reach this gateway, where it is not how the gateway is called."""
    docs: bool | None = None
    """Whether `/docs`, `/redoc` and `/openapi.json` are served; by default in development only."""
    cors_origins: str | None = None
    """Comma-separated origins that may call with credentials; by default, in development, those of a front
    end on this machine."""
    trusted_proxies: str = ""
    """Comma-separated networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    cookie_secure: bool | None = None
    """Whether cookies are for HTTPS only; by default everywhere but in development over HTTP."""
    max_body: int = 512 * 1024
    """Bytes of a request's body; what many documents or a package may have is said with their routes."""
    max_head: int = Field(default=64 * 1024, ge=0)
    """Bytes of the head of a request. This and all that follow are off with 0."""
    max_headers: int = Field(default=100, ge=0)
    head_timeout: float = Field(default=10.0, ge=0)
    """Seconds for the head of a request to arrive."""
    body_timeout: float = Field(default=30.0, ge=0)
    """Seconds for each 16 KiB of a body, or for its end."""
    bodies_memory: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes that a process holds of all bodies that are coming in."""
    connections_per_address: int = Field(default=1_000, ge=0)
    """Open ones, per process; of any number where the address is a trusted proxy's."""
    rate_limit_anonymous: int = Field(default=100, ge=0)
    """Requests a minute from one address that say nobody, or somebody who is not known yet."""
    rate_limit_user: int = Field(default=6_000, ge=0)
    """Requests a minute of one person or service account, and by links from one address."""
    shed_lag: float = Field(default=0.5, ge=0)
    """Seconds that this process is behind from which strangers are told to come later; the others from twice
    that."""
    requests_waiting: int = Field(default=1_000, ge=0)
    """Requests that have not been answered yet, per process; who comes beyond is told to come later."""
    command_patience: float = 5.0
    """Seconds to wait for the answer of a command before it becomes 202."""

    @field_validator("cors_origins")
    @classmethod
    def _name_origins(cls, text: str | None) -> str | None:
        if text is not None and "*" in text:
            raise ValueError("everybody may not call with credentials: name the origins")
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for part in _listed(text):
            ip_network(part, strict=False)
        return text

    def origins(self) -> list[str]:
        if self.cors_origins is None:
            return list(_LOCAL_ORIGINS) if self.env == "development" else []
        return _listed(self.cors_origins)

    @property
    def shows_docs(self) -> bool:
        return self.env == "development" if self.docs is None else self.docs

    def proxies(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(part, strict=False) for part in _listed(self.trusted_proxies)]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
