"""The environment of the tasks service."""

from typing import Literal

from signalbox_common.settings import ServiceSettings


class TasksSettings(ServiceSettings):
    service: Literal["tasks"] = "tasks"
