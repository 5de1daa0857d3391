"""The environment of the catalog service."""

from typing import Literal

from pydantic import Field

from signalbox_common.settings import QuotaSettings, SecretStoreSettings


class CatalogSettings(SecretStoreSettings, QuotaSettings):
    service: Literal["catalog"] = "catalog"
    deleted_kept_days: int = Field(default=30, ge=0)
    """How long a deleted resource can be restored."""
    history_kept_days: int = Field(default=30, ge=0)
    """How long one can look back, or resume a watch; the last generations of what lives stay longer."""
