"""The whole story of a task: what was asked for, and what each service told of it, in its order."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from signalbox_cli.client import Client
from signalbox_cli.tasks import TaskApi
from signalbox_common.errors import SignalboxError

_PAGE = 500
_TYPES = "tasks.*,git.*,sandbox.*"
_BEFORE = timedelta(seconds=5)
"""Clocks of services may differ by so much."""
_SECRET_FOR_OTHERS = (401, 403, 404)


class Tracer:
    def __init__(self, http: Client) -> None:
        self._http = http
        self._api = TaskApi(http)

    def story(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Each with its time, who says it, and what."""
        runs = {run["id"] for run in self._api.runs(task["id"])}
        begun = datetime.fromisoformat(task["createdAt"]) - _BEFORE
        found = [*self._asked(task, runs), *self._events(task["projectId"], runs, begun)]
        return sorted(found, key=lambda each: str(each["time"]))

    def _asked(self, task: dict[str, Any], runs: set[str]) -> Iterator[dict[str, Any]]:
        """What stands in the audit log of it: for owners of the project."""
        try:
            page = self._http.get(
                f"/api/v1/projects/{task['projectId']}/audit",
                params={"since": task["createdAt"], "limit": str(_PAGE)},
            ).json()
        except SignalboxError as error:
            if error.status in _SECRET_FOR_OTHERS:
                return
            raise
        about = {task["id"], *runs}
        for entry in page["items"]:
            if about & {entry["resource"], entry["operation"]}:
                who = entry["actorName"] or entry["actor"]
                said = {name: entry[name] for name in ("outcome", "code", "credential", "act") if entry[name]}
                yield {"time": entry["at"], "who": who, "what": entry["action"], "data": said}

    def _events(self, project: str, runs: set[str], begun: datetime) -> Iterator[dict[str, Any]]:
        path, after = f"/api/v1/projects/{project}/events", self._place(project, begun)
        while True:
            params = {"limit": str(_PAGE), "types": _TYPES} | ({"after": after} if after else {})
            page = self._http.get(path, params=params).json()
            for event in page["items"]:
                if event.get("operation") in runs:
                    who, _, what = event["type"].partition(".")
                    yield {"time": event["time"], "who": who, "what": what, "data": event["data"]}
            if not page["items"] and page["nextCursor"] == after:
                return
            after = page["nextCursor"]

    def _place(self, project: str, begun: datetime) -> str | None:
        """Before the first event of that time, found by halves: the stream has those of a week."""
        path = f"/api/v1/projects/{project}/events"

        def first_after(after: str | None) -> tuple[str | None, str]:
            page = self._http.get(path, params={"limit": "1"} | ({"after": after} if after else {})).json()
            time = page["items"][0]["time"] if page["items"] else None
            return time, page["nextCursor"]

        time, cursor = first_after(None)
        if time is None or datetime.fromisoformat(time) >= begun:
            return None
        epoch, _, number = cursor.partition(":")
        low, step = int(number), 1
        while (moment := _moment(first_after, f"{epoch}:{low + step}")) is not None and moment < begun:
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            moment = _moment(first_after, f"{epoch}:{middle}")
            low, high = (middle, high) if moment is not None and moment < begun else (low, middle)
        return f"{epoch}:{low}"


def _moment(first_after: Any, after: str) -> datetime | None:
    """Of the first event from there on; None beyond the last."""
    try:
        time, _ = first_after(after)
    except SignalboxError as error:
        if error.code != "expired":
            raise
        return None
    return datetime.fromisoformat(time) if time is not None else None
