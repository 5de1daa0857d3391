"""OpenAPI of the gateway."""

from typing import Any

from signalbox_gateway.app import build
from signalbox_gateway.settings import GatewaySettings


def openapi() -> dict[str, Any]:
    return build(GatewaySettings()).openapi()
