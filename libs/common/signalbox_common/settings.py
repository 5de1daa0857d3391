"""The environment that every service reads; each service adds its own names.

Every setting is an environment variable; `<NAME>_FILE` names a file that holds the value instead.
"""

import os
import uuid
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from signalbox_common.contracts.auth.quotas import QuotaLimits
from signalbox_common.entries import RootKey

DEVELOPMENT_SECRET = "signalbox-development-only"  # noqa: S105 - refused outside development
LEAST_SECRET = 32
"""Bytes of a secret key outside development."""


_TOLD = frozenset({"trust_anchor"})
"""What is no secret, and yet must be said outside development."""


class FileSource(PydanticBaseSettingsSource):
    """Reads `<NAME>_FILE` for each setting."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        for name in _names(field, field_name):
            path = os.environ.get(f"{name}_FILE")
            if path:
                return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _key, _ = self.get_field_value(field, name)
            if value is not None:
                found[field.validation_alias if isinstance(field.validation_alias, str) else name] = value
        return found


def _names(field: FieldInfo, field_name: str) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, str):
        return [alias]
    return [f"SIGNALBOX_{field_name.upper()}"]


class EnvironmentSettings(BaseSettings):
    """The base of everything that is configured through the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNALBOX_",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the environment only, no .env files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - `<NAME>_FILE` instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, FileSource(settings_cls), env_settings


class ServiceSettings(EnvironmentSettings):
    """What every service process needs to know."""

    service: str
    env: Literal["development", "staging", "production"] = "development"
    instance: str = Field(default_factory=lambda: uuid.uuid4().hex[:12], pattern=r"^[a-z0-9]{8,32}$")
    """Part of the subject that replies come back on."""

    nats_url: SecretStr = Field(default=SecretStr("nats://127.0.0.1:4222"), validation_alias="NATS_URL")
    redis_url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"), validation_alias="REDIS_URL")
    health_host: str = "127.0.0.1"
    health_port: int = 0
    health_fd: int | None = None
    """A listening socket handed down by the supervisor; wins over host and port."""

    trust_anchor: str = RootKey.derived(DEVELOPMENT_SECRET).anchor
    """The public half of the key that auth signs the entries of its buckets with."""

    disk_path: Path = Path()
    """A folder on the disk that the installation fills."""
    disk_least_free: float = Field(default=0.05, ge=0, le=1)
    """The part of it that stays free: whatever needs space is refused below that."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    shutdown_grace: float = 10.0
    """Seconds that a stopping service gives to what it holds."""

    @model_validator(mode="after")
    def _refuse_defaults_outside_development(self) -> "ServiceSettings":
        if self.env == "development":
            return self
        for name, field in type(self).model_fields.items():
            if (field.annotation is SecretStr or name in _TOLD) and name not in self.model_fields_set:
                variable = _names(field, name)[0]
                raise ValueError(f"{variable} (or {variable}_FILE) must be set when SIGNALBOX_ENV={self.env}")
        key: SecretStr | None = getattr(self, "secret_key", None)
        if key is not None and len(key.get_secret_value().encode()) < LEAST_SECRET:
            raise ValueError(f"SECRET_KEY has at least {LEAST_SECRET} bytes when SIGNALBOX_ENV={self.env}")
        return self


class OwnerSettings(ServiceSettings):
    """What a service that owns data needs to know beside that."""

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://127.0.0.1:5432/signalbox"), validation_alias="DATABASE_URL"
    )

    db_pool_size: int = 10
    db_pool_overflow: int = 10
    """Connections beyond the pool; each is opened and closed for one use."""
    db_pool_timeout: float = 3.0
    db_slow_query: float = 0.25
    """Seconds after which a statement is recorded as slow."""

    data_listen: str | None = None
    """Where the data plane listens, if this service has routes there: `unix:<path>` or `<host>:<port>`, on a
    network that neither clients nor sandboxes reach."""

    command_workers: int = 4
    """Commands of one verb that one process handles at the same time."""
    command_attempts: int = 6
    """Counted deliveries after which a command becomes a dead letter."""
    retry_base: float = 0.5
    retry_max: float = 30.0
    request_concurrency: int = 64
    """Asks and queries that one process handles at the same time."""


class QuotaSettings(EnvironmentSettings):
    """What a project may have and use for which nobody has said anything else; read by all who hold it to
    that."""

    runs_in_project: int | None = Field(default=16, ge=1)
    """Runs of one project that are under way at a time; others of it wait for their turn."""
    runs_queued: int | None = Field(default=10_000, ge=1)
    """Runs of one project that may wait."""
    quota_live_sandboxes: int | None = Field(default=None, ge=0)
    """Without these there is no bound."""
    quota_storage_bytes: int | None = Field(default=None, ge=0)
    quota_tokens_per_month: int | None = Field(default=None, ge=0)
    quota_cost_per_month: float | None = Field(default=None, ge=0)
    quota_resources: int | None = Field(default=100_000, ge=0)
    quota_catalog_bytes: int | None = Field(default=1024**3, ge=0)
    quota_package_bytes: int | None = Field(default=256 * 1024**2, ge=0)
    """All projects share one store of packages, of 2 GiB."""
    quota_api_tokens: int | None = Field(default=1_000, ge=0)
    """The same for each person."""

    def limits(self) -> QuotaLimits:
        return QuotaLimits(
            live_sandboxes=self.quota_live_sandboxes,
            queued_tasks=self.runs_queued,
            running_tasks=self.runs_in_project,
            storage_bytes=self.quota_storage_bytes,
            tokens_per_month=self.quota_tokens_per_month,
            cost_per_month=self.quota_cost_per_month,
            resources=self.quota_resources,
            catalog_bytes=self.quota_catalog_bytes,
            package_bytes=self.quota_package_bytes,
            api_tokens=self.quota_api_tokens,
        )


class SecretStoreSettings(OwnerSettings):
    """What a service that keeps secrets needs to know beside that."""

    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Wraps the keys of the secret store; what else is derived from it, each service says."""
    secrets_dir: Path = Path(".signalbox/secrets")
    """Where the file lies that holds the keys of the local secret store."""
