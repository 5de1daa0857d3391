"""The environment of the sandbox service."""

from typing import Literal

from signalbox_common.settings import ServiceSettings


class SandboxSettings(ServiceSettings):
    service: Literal["sandbox"] = "sandbox"
