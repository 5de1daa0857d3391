"""The environment of the gateway."""

from typing import Literal

from pydantic import Field, SecretStr

from signalbox_common.settings import DEVELOPMENT_SECRET, ServiceSettings


class GatewaySettings(ServiceSettings):
    service: Literal["gateway"] = "gateway"
    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Command ids, request digests and operation ids are derived from it."""
    host: str = "127.0.0.1"
    port: int = 8000
    listen_fd: int | None = None
    """A listening socket handed down by the supervisor; wins over host and port."""

    docs: bool = True
    """Whether `/docs`, `/redoc` and `/openapi.json` are served."""
    cors_origins: str = "http://localhost:3000"
    """Comma-separated origins that may call with credentials."""
    max_body: int = 512 * 1024
    command_patience: float = 5.0
    """Seconds to wait for the answer of a command before it becomes 202."""
