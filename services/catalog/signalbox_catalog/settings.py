"""The environment of the catalog service."""

from typing import Literal

from signalbox_common.settings import ServiceSettings


class CatalogSettings(ServiceSettings):
    service: Literal["catalog"] = "catalog"
