"""The routes of agents, as commands use them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.records import RecordApi, made, pages

_AGENTS = "/api/v1/agents"


class AgentApi(RecordApi):
    path = _AGENTS
    plural = "agents"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return made(self.http, _AGENTS, body | self._project)

    def note(self, agent: str, body: dict[str, Any]) -> None:
        wait_for(self.http, self.http.post(f"{_AGENTS}/{agent}/activity", json=body))

    def activity(self, agent: str) -> Iterator[dict[str, Any]]:
        return pages(self.http, f"{_AGENTS}/{agent}/activity")

    def history(self, agent: str) -> Iterator[dict[str, Any]]:
        return pages(self.http, f"{_AGENTS}/{agent}/history")

    def metrics(self, agent: str, since: str | None, until: str | None) -> dict[str, Any]:
        params = {name: value for name, value in (("from", since), ("to", until)) if value is not None}
        found: dict[str, Any] = self.http.get(f"{_AGENTS}/{agent}/metrics", params=params).json()
        return found
