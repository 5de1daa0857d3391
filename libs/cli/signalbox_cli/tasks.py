"""The routes of tasks and runs, as commands use them."""

import mimetypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx

from signalbox_cli.agents import AgentApi
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import made, pages
from signalbox_common.contracts.tasks import MAX_ATTACHMENT
from signalbox_common.errors import SignalboxError

_TASKS = "/api/v1/tasks"
_WHOLE = 36
"""Characters of a whole id."""
_PAUSES = (0.1, 0.3, 1.0, 2.0, 5.0, 5.0)


class TaskApi:
    ENDED: ClassVar = frozenset({"succeeded", "failed", "cancelled", "timed_out"})

    def __init__(self, http: Client) -> None:
        self.http = http

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in body.items() if value is not None}
        return made(self.http, _TASKS, given)

    def agent(self, named: str, project: str | None) -> dict[str, Any]:
        return AgentApi(self.http, project).find(named)

    def attach(self, file: Path, project: str | None = None) -> dict[str, Any]:
        """For a task that is created next."""
        if file.stat().st_size > MAX_ATTACHMENT:
            raise Mistake(f"{file} has more than {MAX_ATTACHMENT} bytes")
        media, _ = mimetypes.guess_type(file.name)
        params = {"name": file.name} | ({"projectId": project} if project else {})
        uploaded: dict[str, Any] = self.http.post(
            "/api/v1/attachments",
            params=params,
            content=file.read_bytes(),
            headers={"Content-Type": media or "application/octet-stream"},
        ).json()
        return uploaded

    def get(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{_TASKS}/{task}").json()
        return found

    def every(self, project: str | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        return pages(self.http, _TASKS, projectId=project, **filters)

    def find(self, beginning: str) -> dict[str, Any]:
        """By its id, or the beginning or the end of it: the ends of ids tell more of them apart."""
        if len(beginning) == _WHOLE:
            return self.get(beginning)
        found = [each for each in self.every() if each["id"].startswith(beginning)]
        found = found or [each for each in self.every() if each["id"].endswith(beginning)]
        if len(found) != 1:
            raise Mistake(f"{len(found) or 'no'} tasks have an id that is like {beginning!r}")
        return found[0]

    def do(self, task: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`cancel`, `retry`, `duplicate` or `follow-up`; the task as it is then."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        answer = self.http.post(f"{_TASKS}/{task}/{what}", json=given or None)
        if wait_for(self.http, answer):
            return self.get(task)
        found: dict[str, Any] = answer.json()
        return found

    def answer(self, run: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.http.post(f"/api/v1/runs/{run}/answer", json=body).json()
        return found

    def deliver(self, run: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.http.post(f"/api/v1/runs/{run}/deliver", json=body).json()
        return found

    # -- runs ----------------------------------------------------------------------------------------------

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/api/v1/runs/{run}").json()
        return found

    def runs(self, task: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"{_TASKS}/{task}/runs").json()["items"]
        return found

    def steps(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"/api/v1/runs/{run}/steps").json()["items"]
        return found

    def log(self, run: str) -> Iterator[bytes]:
        with self.http.stream("GET", f"/api/v1/runs/{run}/log") as answer:
            yield from answer.iter_bytes()

    def follow(self, run: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What its programs say, to its end, however often the connection is cut."""
        last, pauses = "", iter(_PAUSES)
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                for identifier, name, data in self.http.events(
                    "GET", f"/api/v1/runs/{run}/log", headers=headers
                ):
                    last, pauses = identifier or last, iter(_PAUSES)
                    yield name, data
                    if name == "end":
                        return
            except (httpx.TransportError, SignalboxError) as error:
                if isinstance(error, SignalboxError) and error.final:
                    raise
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)

    def changes(self, run: str) -> str | None:
        """The diff of what it has changed; None where it has left none."""
        try:
            return self.http.get(f"/api/v1/runs/{run}/changes").text
        except SignalboxError as error:
            if error.code != "artifact_not_found":
                raise
            return None
