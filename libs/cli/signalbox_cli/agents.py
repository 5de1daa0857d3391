"""The routes of agents, as commands use them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client

_PAGE = 200
_AGENTS = "/api/v1/agents"


class AgentApi:
    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._project = {"projectId": project} if project else {}

    def every(self) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return self._pages(_AGENTS, self._project)

    def find(self, named: str) -> dict[str, Any]:
        """By its name, or by how its id begins or ends."""
        known = list(self.every())
        found = [each for each in known if each["name"].lower() == named.lower()]
        if not found:
            part = named.lower()
            found = [each for each in known if each["id"].startswith(part) or each["id"].endswith(part)]
        if len(found) != 1:
            raise Mistake(f"{len(found) or 'no'} agents are called {named!r}, or have such an id")
        return found[0]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(_AGENTS, json=body | self._project)
        if wait_for(self.http, answer):
            return self.find(body["name"])
        made: dict[str, Any] = answer.json()
        return made

    def change(self, agent: str, body: dict[str, Any]) -> dict[str, Any]:
        wait_for(self.http, self.http.patch(f"{_AGENTS}/{agent}", json=body))
        found: dict[str, Any] = self.http.get(f"{_AGENTS}/{agent}").json()
        return found

    def delete(self, agent: str) -> None:
        wait_for(self.http, self.http.delete(f"{_AGENTS}/{agent}"))

    def note(self, agent: str, body: dict[str, Any]) -> None:
        wait_for(self.http, self.http.post(f"{_AGENTS}/{agent}/activity", json=body))

    def activity(self, agent: str) -> Iterator[dict[str, Any]]:
        return self._pages(f"{_AGENTS}/{agent}/activity", {})

    def history(self, agent: str) -> Iterator[dict[str, Any]]:
        return self._pages(f"{_AGENTS}/{agent}/history", {})

    def metrics(self, agent: str, since: str | None, until: str | None) -> dict[str, Any]:
        params = {name: value for name, value in (("from", since), ("to", until)) if value is not None}
        found: dict[str, Any] = self.http.get(f"{_AGENTS}/{agent}/metrics", params=params).json()
        return found

    def _pages(self, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        params = {"limit": _PAGE} | params
        while True:
            page = self.http.get(path, params=params).json()
            yield from page["items"]
            if page["nextCursor"] is None:
                return
            params["cursor"] = page["nextCursor"]
