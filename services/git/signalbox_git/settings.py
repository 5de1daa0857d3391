"""The environment of the git service."""

from typing import Literal

from signalbox_common.settings import SecretStoreSettings


class GitSettings(SecretStoreSettings):
    service: Literal["git"] = "git"
