"""The environment of the sandbox service."""

from typing import Literal

from signalbox_common.settings import OwnerSettings


class SandboxSettings(OwnerSettings):
    service: Literal["sandbox"] = "sandbox"
