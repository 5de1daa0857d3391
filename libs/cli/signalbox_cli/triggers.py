"""The routes of triggers, as commands use them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.records import RecordApi, pages

_TRIGGERS, _HOOKS = "/api/v1/triggers", "/api/v1/hooks"


class TriggerApi(RecordApi):
    path = _TRIGGERS
    plural = "triggers"

    def create(self, name: str, task: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
        """The trigger with what is shown this once."""
        task = {field: value for field, value in task.items() if value is not None}
        body = {"name": name, "task": task} | rules | self._project
        return self._shown(self.http.post(_TRIGGERS, json=body).json())

    def rotate(self, trigger: str) -> dict[str, Any]:
        """The same, anew."""
        return self._shown(self.http.post(f"{_TRIGGERS}/{trigger}/rotate").json())

    def history(self, trigger: str) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, f"{_TRIGGERS}/{trigger}/history")

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        """With its address, where it has one."""
        address = str(self.http.base_url.join(f"{_HOOKS}/{made['token']}")) if made["token"] else None
        return made | {"address": address}


def state_of(trigger: dict[str, Any]) -> str:
    if not trigger["paused"]:
        return "on"
    return f"paused: {trigger['reason']}" if trigger["reason"] else "paused"


def source_of(trigger: dict[str, Any]) -> str:
    """From where it is told."""
    return trigger["event"] or f"hook, {trigger['verify']}"
