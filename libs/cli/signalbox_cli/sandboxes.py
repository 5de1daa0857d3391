"""The routes of sandboxes."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import pages
from signalbox_common.errors import SignalboxError

_PATIENCE = 60.0
_LOOK = 0.2
_GONE, _CONFLICT = 404, 409
_WHOLE = 36
"""Characters of a whole id."""


class SandboxApi:
    ENDED: ClassVar = frozenset({"destroyed", "failed", "lost"})

    def __init__(self, http: Client) -> None:
        self.http = http

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Waits until it runs, or has failed."""
        made: dict[str, Any] = self.http.post("/api/v1/sandboxes", json=body).json()
        last = time.monotonic() + _PATIENCE
        while made["status"] == "creating" and time.monotonic() < last:
            time.sleep(_LOOK)
            made = self.get(made["id"])
        if made["status"] in self.ENDED:
            raise Mistake(f"the sandbox {made['id']} has {made['status']}: {made['reason']}")
        return made

    def get(self, sandbox: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/api/v1/sandboxes/{sandbox}").json()
        return found

    def every(self, project: str | None = None) -> Iterator[dict[str, Any]]:
        return pages(self.http, "/api/v1/sandboxes", projectId=project)

    def find(self, beginning: str) -> str:
        """The whole id."""
        if len(beginning) == _WHOLE:
            return beginning
        found = {str(each["id"]) for each in self.every() if each["id"].startswith(beginning)}
        if len(found) != 1:
            raise Mistake(f"{len(found) or 'no'} sandboxes have an id that begins with {beginning!r}")
        return found.pop()

    def change(self, sandbox: str, how: str) -> dict[str, Any]:
        return self._settled(sandbox, self.http.post(f"/api/v1/sandboxes/{sandbox}/{how}"))

    def set_timeout(self, sandbox: str, seconds: int) -> dict[str, Any]:
        answer = self.http.put(f"/api/v1/sandboxes/{sandbox}/timeout", json={"timeout": seconds})
        return self._settled(sandbox, answer)

    def set_network(self, sandbox: str, network: Any) -> dict[str, Any]:
        answer = self.http.put(f"/api/v1/sandboxes/{sandbox}/network", json={"network": network})
        return self._settled(sandbox, answer)

    def destroy(self, sandbox: str) -> dict[str, Any]:
        return self._settled(sandbox, self.http.delete(f"/api/v1/sandboxes/{sandbox}"))

    def _settled(self, sandbox: str, answer: httpx.Response) -> dict[str, Any]:
        if wait_for(self.http, answer):
            return self.get(sandbox)
        found: dict[str, Any] = answer.json()
        return found

    def link(self, sandbox: str, port: int, seconds: int) -> dict[str, Any]:
        path = f"/api/v1/sandboxes/{sandbox}/ports/{port}/links"
        found: dict[str, Any] = self.http.post(path, json={"expiresIn": seconds}).json()
        return found

    def all_metrics(self, project: str | None = None) -> dict[str, dict[str, Any]]:
        """Of those that run, by their id."""
        running = [each["id"] for each in self.every(project) if each["status"] == "running"]
        found = {sandbox: self.metrics(sandbox) for sandbox in running}
        return {sandbox: said for sandbox, said in found.items() if said is not None}

    def metrics(self, sandbox: str) -> dict[str, Any] | None:
        """None where it does not run."""
        try:
            found: dict[str, Any] = self.http.get(f"/api/v1/sandboxes/{sandbox}/metrics").json()
        except SignalboxError as error:
            if error.status not in (_GONE, _CONFLICT):
                raise
            return None
        return found

    def processes(self, sandbox: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"/api/v1/sandboxes/{sandbox}/processes").json()["items"]
        return found

    def execute(self, sandbox: str, body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        given = {name: value for name, value in body.items() if value is not None}
        return self.http.events("POST", f"/api/v1/sandboxes/{sandbox}/exec", json=given)

    def output(self, sandbox: str, key: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return self.http.events("GET", f"/api/v1/sandboxes/{sandbox}/processes/{key}/output")
