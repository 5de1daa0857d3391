"""The environment of the catalog service."""

from typing import Literal

from signalbox_common.settings import OwnerSettings


class CatalogSettings(OwnerSettings):
    service: Literal["catalog"] = "catalog"
