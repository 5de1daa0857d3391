"""When something is done by itself, as it is said in a request."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Moment
from signalbox_gateway.routes.at_tasks import TaskBody

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": contract.DAY}


def _seconds(given: Any) -> Any:
    """Of a duration in words; whatever else it is, others judge."""
    found = _DURATION.fullmatch(given) if isinstance(given, str) else None
    return int(found[1]) * _SECONDS[found[2]] if found is not None else given


Every = Annotated[contract.Interval, BeforeValidator(_seconds, json_schema_input_type=int | str)]


class Timing(TaskBody):
    """One of `cron`, `at` and `every`."""

    cron: contract.CronExpression | None = None
    """Minute, hour, day of the month, month, day of the week; or `@daily` and the like."""
    at: Moment | None = None
    """Once."""
    every: Every | None = None
    """Seconds, or a number with `s`, `m`, `h` or `d`."""
    timezone: contract.TimeZone = "UTC"
    """That of `cron`, like `Europe/Berlin`."""
    misfire: contract.Misfire = contract.Misfire.ONCE
    """What becomes of times that were missed."""
    misfire_limit: contract.MisfireLimit = 10
    late_after: contract.LateAfter = 60
    """Seconds after which a time counts as missed."""
    overlap: contract.Overlap = contract.Overlap.SKIP
    """What becomes of a time that comes while an earlier task has not ended."""
    paused: bool = False

    def asked(self, name: str, task: contract.NewTask) -> contract.CreateSchedule:
        return contract.CreateSchedule(
            name=name,
            timing=contract.Timing(cron=self.cron, at=self.at, every=self.every, timezone=self.timezone),
            task=task,
            policies=contract.Policies(
                misfire=self.misfire,
                misfire_limit=self.misfire_limit,
                late_after=self.late_after,
                overlap=self.overlap,
            ),
            paused=self.paused,
        )
