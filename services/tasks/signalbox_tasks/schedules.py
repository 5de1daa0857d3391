"""Schedules as records: their times, and what becomes of each of those."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from signalbox_common.contracts.tasks import Misfire, Overlap, ScheduledTask, Timing

SHOWN = 5
"""Of the times that come next."""
MOST_AT_ONCE = 10_000
"""Times that are looked at together; those that follow are looked at right after."""
MOST_STARTED = 100
"""The same of one schedule, of those that start something."""
_FIELDS = 5
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class BadTiming(ValueError):
    """There is no such time."""


@dataclass(frozen=True)
class Times:
    """All the times of a schedule, in their order."""

    cron: str | None = None
    at: datetime | None = None
    every: int | None = None
    timezone: str = "UTC"
    since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """What intervals are counted from."""

    @staticmethod
    def of(timing: Timing, now: datetime) -> "Times":
        """Raises BadTiming where there is none to come."""
        at = timing.at.astimezone(UTC) if timing.at is not None else None
        cron = " ".join(timing.cron.split()) if timing.cron is not None else None
        times = Times(cron=cron, at=at, every=timing.every, timezone=timing.timezone, since=now)
        _zone(timing.timezone)
        if at is not None and at <= now:
            raise BadTiming("`at` lies in the past.")
        if times.next_after(now) is None:
            raise BadTiming("There is no such time.")
        return times

    def next_after(self, moment: datetime) -> datetime | None:
        return next(self.after(moment), None)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """In UTC. A fixed local time that the clock leaves out comes right behind the gap, and of one that it
        says twice the first counts; what comes each so many minutes or hours goes on as time does."""
        if self.cron is not None:
            yield from _after_in_cron(self.cron, self.timezone, moment)
        elif self.every is not None:
            step = timedelta(seconds=self.every)
            place = max(1, (moment - self.since) // step + 1)
            while True:
                yield self.since + place * step
                place += 1
        elif self.at is not None and self.at > moment:
            yield self.at


def _after_in_cron(expression: str, timezone: str, moment: datetime) -> Iterator[datetime]:
    simulated = _parsed(expression, moment.astimezone(_zone(timezone)))
    last = moment
    while True:
        try:
            found = next(simulated, None)
        except OverflowError:  # behind the end of all calendars
            return
        if found is None:
            return
        if (in_utc := found.astimezone(UTC)) > last:
            last = in_utc
            yield in_utc


def _parsed(expression: str, local: datetime) -> CronSim:
    expression = _ALIASES.get(expression.lower(), expression)
    if len(expression.split()) != _FIELDS:
        raise BadTiming("`cron` has five fields: minute, hour, day of the month, month, day of the week.")
    try:
        return CronSim(expression, local)
    except (CronSimError, ValueError, AssertionError) as error:
        raise BadTiming(f"`cron` is not understood: {error or 'no such time'}.") from error


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadTiming(f"There is no time zone {name!r}.") from error


@dataclass(frozen=True)
class Due:
    """Times that have come: one that is to be fired, or those that were missed and are skipped together."""

    first: datetime
    last: datetime
    times: int
    fires: bool


@dataclass(frozen=True)
class Schedule:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    times: Times
    task: ScheduledTask
    misfire: Misfire
    misfire_limit: int
    late_after: int
    overlap: Overlap
    paused: bool
    next_at: datetime | None
    authority: uuid.UUID
    """Under whose secrets lie the proof and the delegation of whoever it acts for."""
    proof_at: datetime
    acts_for: uuid.UUID
    acts_for_name: str
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    delegated: bool = False
    """Whether it may act already; nothing is started before."""
    last_at: datetime | None = None
    last_task: uuid.UUID | None = None
    version: int = 1

    @property
    def key(self) -> str:
        """What its tasks have in common where one waits for the other."""
        return f"schedule:{self.id}"

    def next_times(self) -> tuple[datetime, ...]:
        if self.next_at is None:
            return ()
        return (self.next_at, *islice(self.times.after(self.next_at), SHOWN - 1))

    def changed(self, now: datetime, **changes: Any) -> "Schedule":
        return replace(self, **changes, updated_at=now, version=self.version + 1)

    def stopped(self, now: datetime, reason: str | None = None) -> "Schedule":
        return self.changed(now, paused=True, reason=reason, next_at=None)

    def resumed(self, now: datetime) -> "Schedule":
        """What came meanwhile is not missed."""
        return self.changed(now, paused=False, reason=None, next_at=self.times.next_after(now))

    def due(self, now: datetime, most: int = MOST_AT_ONCE) -> tuple[list[Due], datetime | None]:
        """What has come until now, and what comes next."""
        if self.next_at is None or self.next_at > now:
            return [], self.next_at
        coming = self.times.after(self.next_at)
        found, following = [self.next_at], next(coming, None)
        while following is not None and following <= now and len(found) < most:
            found.append(following)
            following = next(coming, None)
        late = [at for at in found if (now - at).total_seconds() > self.late_after]
        kept = {Misfire.SKIP: 0, Misfire.ONCE: 1, Misfire.ALL: self.misfire_limit}[self.misfire]
        skips = max(0, len(late) - kept)
        fires = found[skips:]
        if len(late) == len(found) and following is not None and following <= now:
            # Of those that follow, some may be late as well, and newer than what is made up for of these.
            fires, following = [], fires[0] if fires else following
        elif len(fires) > MOST_STARTED:
            fires, following = fires[:MOST_STARTED], fires[MOST_STARTED]
        return [*_skipped(late[:skips]), *(Due(at, at, 1, fires=True) for at in fires)], following


def _skipped(missed: list[datetime]) -> list[Due]:
    return [Due(missed[0], missed[-1], len(missed), fires=False)] if missed else []
