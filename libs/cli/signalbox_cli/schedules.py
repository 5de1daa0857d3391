"""The routes of schedules, as commands use them, and their times as people read them."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from signalbox_cli.records import RecordApi, made, pages

_SCHEDULES, _TASKS = "/api/v1/schedules", "/api/v1/tasks"
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


class ScheduleApi(RecordApi):
    path = _SCHEDULES
    plural = "schedules"

    def create(self, task: dict[str, Any], when: dict[str, Any], name: str | None = None) -> dict[str, Any]:
        """Called as its task is, where it has no name of its own."""
        task = {field: value for field, value in task.items() if value is not None}
        if name is None:
            body = task | {"schedule": when} | self._project
            return made(self.http, _TASKS, body, below=_SCHEDULES)
        return made(self.http, _SCHEDULES, {"name": name, "task": task} | when | self._project)

    def run(self, schedule: str) -> dict[str, Any]:
        """The task."""
        return made(self.http, f"{_SCHEDULES}/{schedule}/run", below=_TASKS)

    def history(self, schedule: str) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, f"{_SCHEDULES}/{schedule}/history")


# -- times -------------------------------------------------------------------------------------------------


def zone_of(schedule: dict[str, Any]) -> tzinfo:
    """UTC where this machine knows less zones than the service does."""
    try:
        return ZoneInfo(schedule["timezone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def in_zone(schedule: dict[str, Any], moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(zone_of(schedule))


def next_times(schedule: dict[str, Any]) -> list[str]:
    return [in_zone(schedule, each).isoformat(" ", "seconds") for each in schedule["nextRuns"]]


def when_of(schedule: dict[str, Any]) -> str:
    """In the words that it was given in."""
    zone = schedule["timezone"]
    if schedule["cron"] is not None:
        return f"{schedule['cron']} {zone}"
    if schedule["at"] is not None:
        return f"at {in_zone(schedule, schedule['at']):%Y-%m-%d %H:%M} {zone}"
    return f"every {_duration(schedule['every'])} {zone}"


def state_of(schedule: dict[str, Any]) -> str:
    if schedule["paused"]:
        return f"paused: {schedule['reason']}" if schedule["reason"] else "paused"
    return "on" if schedule["nextRuns"] else "over"


def _duration(seconds: int) -> str:
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds % size == 0), (1, "s"))
    return f"{seconds // size}{unit}"
