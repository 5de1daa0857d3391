"""The environment of the catalog service."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from signalbox_common.settings import DEVELOPMENT_SECRET, OwnerSettings


class CatalogSettings(OwnerSettings):
    service: Literal["catalog"] = "catalog"
    secret_key: SecretStr = Field(default=SecretStr(DEVELOPMENT_SECRET), validation_alias="SECRET_KEY")
    """Wraps the keys of the secret store, and tells whether a key in a spec is the same as before."""
    secrets_dir: Path = Path(".signalbox/secrets")
    """Where the file lies that holds the keys of the local secret store."""
    deleted_kept_days: int = Field(default=30, ge=0)
    """How long a deleted resource can be restored."""
    history_kept_days: int = Field(default=30, ge=0)
    """How long one can look back, or resume a watch; the last generations of what lives stay longer."""
