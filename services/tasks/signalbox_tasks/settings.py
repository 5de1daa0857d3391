"""The environment of the tasks service."""

from typing import Literal

from signalbox_common.settings import SecretStoreSettings


class TasksSettings(SecretStoreSettings):
    service: Literal["tasks"] = "tasks"
