"""The environment of the sandbox service."""

from typing import Literal

from signalbox_common.settings import SecretStoreSettings


class SandboxSettings(SecretStoreSettings):
    service: Literal["sandbox"] = "sandbox"
