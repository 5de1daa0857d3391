"""The environment of the tasks service."""

from typing import Literal

from pydantic import Field, field_validator

from signalbox_common.addresses import PrivateHosts
from signalbox_common.settings import QuotaSettings, SecretStoreSettings


class TasksSettings(SecretStoreSettings, QuotaSettings):
    service: Literal["tasks"] = "tasks"
    runs_most: int = Field(default=200, ge=1)
    """Runs that are worked on at a time, in all instances together."""
    tasks_kept_days: int = Field(default=90, ge=1)
    """How long tasks that have ended stay, with the logs and artifacts of their runs."""
    attachments_mb: int = Field(default=1024, ge=1)
    """What the attachments of one project may take."""
    private_hosts: str = ""
    """Hosts and networks at private addresses that are notified all the same, separated by commas."""
    data_url: str | None = None
    """Where others reach the data plane of this instance, if that is not where it listens."""

    @field_validator("private_hosts")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        PrivateHosts.parse(text)
        return text

    def data_address(self) -> str:
        """As others are told of it."""
        listen = self.data_url or self.data_listen or ""
        return listen if listen.startswith(("unix:", "http:", "https:")) else f"http://{listen}"
