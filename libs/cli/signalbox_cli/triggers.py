"""The routes of triggers, as commands use them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import find, pages

_TRIGGERS, _HOOKS = "/api/v1/triggers", "/api/v1/hooks"


class TriggerApi:
    def __init__(self, http: Client, project: str | None = None) -> None:
        self._http = http
        self._project = {"projectId": project} if project else {}

    def every(self) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self._http, _TRIGGERS, **self._project)

    def find(self, named: str) -> dict[str, Any]:
        return find(self.every(), named, "triggers")

    def create(self, name: str, task: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
        """The trigger with what is shown this once."""
        task = {field: value for field, value in task.items() if value is not None}
        body = {"name": name, "task": task} | rules | self._project
        return self._shown(self._http.post(_TRIGGERS, json=body).json())

    def rotate(self, trigger: str) -> dict[str, Any]:
        """The same, anew."""
        return self._shown(self._http.post(f"{_TRIGGERS}/{trigger}/rotate").json())

    def change(self, trigger: str, body: dict[str, Any]) -> dict[str, Any]:
        path = f"{_TRIGGERS}/{trigger}"
        wait_for(self._http, self._http.patch(path, json=body))
        return self._now(path)

    def do(self, trigger: str, what: str) -> dict[str, Any]:
        """`pause` or `resume`; the trigger as it is then."""
        path = f"{_TRIGGERS}/{trigger}"
        wait_for(self._http, self._http.post(f"{path}/{what}"))
        return self._now(path)

    def delete(self, trigger: str) -> None:
        wait_for(self._http, self._http.delete(f"{_TRIGGERS}/{trigger}"))

    def history(self, trigger: str) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self._http, f"{_TRIGGERS}/{trigger}/history")

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        """With its address, where it has one."""
        address = str(self._http.base_url.join(f"{_HOOKS}/{made['token']}")) if made["token"] else None
        return made | {"address": address}

    def _now(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(path).json()
        return found


def state_of(trigger: dict[str, Any]) -> str:
    if not trigger["paused"]:
        return "on"
    return f"paused: {trigger['reason']}" if trigger["reason"] else "paused"


def source_of(trigger: dict[str, Any]) -> str:
    """From where it is told."""
    return trigger["event"] or f"hook, {trigger['verify']}"
