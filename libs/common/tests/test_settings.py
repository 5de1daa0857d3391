"""Settings come from the environment, secrets also from files, and production has no defaults."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from signalbox_common.settings import OwnerSettings


class Example(OwnerSettings):
    service: str = "example"
    secret_key: SecretStr = Field(default=SecretStr("x"), validation_alias="SECRET_KEY")
    extra: SecretStr | None = None


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_URL", "REDIS_URL", "DATABASE_URL", "SECRET_KEY", "SIGNALBOX_ENV"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


def test_defaults_are_sane() -> None:
    settings = Example()
    assert settings.env == "development"
    assert settings.log_level == "info"
    assert len(settings.instance) >= 8


def test_names_that_users_already_set_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/db")
    monkeypatch.setenv("SIGNALBOX_LOG_LEVEL", "debug")
    settings = Example()
    assert settings.database_url.get_secret_value() == "postgresql://somewhere/db"
    assert settings.log_level == "debug"


def test_a_file_wins_and_empty_means_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("nats://from-a-file\n")
    monkeypatch.setenv("NATS_URL", "")
    monkeypatch.setenv("NATS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("SIGNALBOX_EXTRA_FILE", str(tmp_path / "url"))
    settings = Example()
    assert settings.nats_url.get_secret_value() == "nats://from-a-file"
    assert settings.extra is not None
    monkeypatch.delenv("NATS_URL_FILE")
    assert Example().nats_url.get_secret_value() == "nats://127.0.0.1:4222"


@pytest.mark.parametrize("env", ["staging", "production"])
@pytest.mark.parametrize("missing", ["SECRET_KEY", "SIGNALBOX_TRUST_ANCHOR"])
def test_outside_development_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, env: str, missing: str
) -> None:
    monkeypatch.setenv("SIGNALBOX_ENV", env)
    for name in ("NATS_URL", "REDIS_URL", "DATABASE_URL", "SECRET_KEY", "SIGNALBOX_TRUST_ANCHOR"):
        monkeypatch.setenv(name, "x://and-more-than-thirty-two-bytes-of-it")
    assert Example().env == env
    monkeypatch.delenv(missing)
    with pytest.raises(ValidationError, match=missing):
        Example()


def test_a_short_key_is_refused_outside_development(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_URL", "REDIS_URL", "DATABASE_URL", "SECRET_KEY", "SIGNALBOX_TRUST_ANCHOR"):
        monkeypatch.setenv(name, "x" * 31)
    assert Example().env == "development"
    monkeypatch.setenv("SIGNALBOX_ENV", "production")
    with pytest.raises(ValidationError, match="at least 32 bytes"):
        Example()
    monkeypatch.setenv("SECRET_KEY", "x" * 32)
    assert Example().env == "production"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    assert "very secret" not in repr(Example())
