"""The environment of the git service."""

from typing import Literal

from signalbox_common.settings import OwnerSettings


class GitSettings(OwnerSettings):
    service: Literal["git"] = "git"
