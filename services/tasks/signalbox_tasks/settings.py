"""The environment of the tasks service."""

from typing import Literal

from signalbox_common.settings import OwnerSettings


class TasksSettings(OwnerSettings):
    service: Literal["tasks"] = "tasks"
