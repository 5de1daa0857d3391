"""The environment of the git service."""

from typing import Literal

from signalbox_common.settings import ServiceSettings


class GitSettings(ServiceSettings):
    service: Literal["git"] = "git"
