"""The times of a schedule, and what becomes of those that have come: without a database."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_common.contracts.tasks import Misfire, NoopShell, Overlap, ScheduledTask, TaskSpec
from signalbox_tasks.schedules import BadTiming, Schedule, Times

BERLIN = ZoneInfo("Europe/Berlin")
BEGIN = datetime(2027, 1, 1, tzinfo=UTC)


def told(cron: str, since: str, count: int) -> list[str]:
    """By the clocks of Berlin."""
    times = Times(cron=cron, timezone="Europe/Berlin")
    found = islice(times.after(datetime.fromisoformat(since)), count)
    return [each.astimezone(BERLIN).strftime("%d %H:%M %z") for each in found]


@pytest.mark.parametrize(
    ("cron", "since", "expected"),
    [
        ("30 2 * * *", "2027-03-27T12:00+01:00", ["28 03:00 +0200", "29 02:30 +0200"]),
        ("0 * * * *", "2027-03-28T00:30+01:00", ["28 01:00 +0100", "28 03:00 +0200"]),
        ("30 2 * * *", "2027-10-30T12:00+02:00", ["31 02:30 +0200", "01 02:30 +0100"]),
        ("30 2 * * *", "2027-10-31T02:15+01:00", ["01 02:30 +0100"]),
        ("0 * * * *", "2027-10-31T01:30+02:00", ["31 02:00 +0200", "31 02:00 +0100", "31 03:00 +0100"]),
        ("@monthly", "2027-10-31T12:00+01:00", ["01 00:00 +0100"]),
        ("0 9 * * 5L", "2027-01-01T00:00+01:00", ["29 09:00 +0100"]),
    ],
)
def test_clocks_that_change(cron: str, since: str, expected: list[str]) -> None:
    assert told(cron, since, len(expected)) == expected


@pytest.mark.parametrize(
    "cron", ["", "@reboot", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 4 *", "x * * * *"]
)
def test_no_such_times(cron: str) -> None:
    with pytest.raises(BadTiming):
        Times(cron=cron).next_after(BEGIN)


def schedule(times: Times, misfire: Misfire, limit: int, late_after: int) -> Schedule:
    return Schedule(
        id=uuid.uuid4(),
        project_id=uuid.uuid4(),
        name="s",
        times=times,
        task=ScheduledTask(title="t", spec=TaskSpec(noop=NoopShell())),
        misfire=misfire,
        misfire_limit=limit,
        late_after=late_after,
        overlap=Overlap.QUEUE,
        paused=False,
        next_at=times.next_after(BEGIN),
        authority=uuid.uuid4(),
        proof_at=BEGIN,
        acts_for=uuid.uuid4(),
        acts_for_name="n",
        created_by=uuid.uuid4(),
        created_at=BEGIN,
        updated_at=BEGIN,
    )


@given(
    every=st.integers(10, 4000),
    misfire=st.sampled_from(Misfire),
    limit=st.integers(1, 20),
    late_after=st.integers(1, 5000),
    leaps=st.lists(st.integers(-5000, 20_000), min_size=1, max_size=12),
    most=st.integers(25, 200),
)
def test_each_time_once_and_as_its_policy_says(
    every: int, misfire: Misfire, limit: int, late_after: int, leaps: list[int], most: int
) -> None:
    """However the clock goes, and however many times are looked at together."""
    times = Times(every=every, since=BEGIN)
    found = schedule(times, misfire, limit, late_after)
    now = latest = BEGIN
    seen: list[datetime] = []
    for leap in leaps:
        now += timedelta(seconds=leap)
        latest = max(latest, now)
        fired: list[datetime] = []
        come: list[datetime] = []
        while found.next_at is not None and found.next_at <= now:
            due, next_at = found.due(now, most)
            for each in due:
                these = [
                    each.first + step * timedelta(seconds=every)
                    for step in range((each.last - each.first) // timedelta(seconds=every) + 1)
                ]
                assert len(these) == each.times
                come += these
                fired += these if each.fires else []
            found = replace(found, next_at=next_at)
        late = [at for at in come if (now - at).total_seconds() > late_after]
        made_up = {Misfire.SKIP: 0, Misfire.ONCE: 1, Misfire.ALL: limit}[misfire]
        assert fired == come[max(0, len(late) - made_up) :]
        seen += come
    count = max(0, (latest - BEGIN) // timedelta(seconds=every))
    assert seen == [BEGIN + step * timedelta(seconds=every) for step in range(1, count + 1)]
