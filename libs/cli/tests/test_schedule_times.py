"""Times as options say them, and as people read them."""

from typing import Any

import pytest
import typer

from signalbox_cli.commands.timing import timing
from signalbox_cli.schedules import next_times, state_of, when_of

NONE = {"cron": None, "at": None, "every": None, "timezone": "UTC", "paused": False, "reason": None}


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ((None, None, None, None), {}),
        (("@daily", None, None, "Europe/Berlin"), {"cron": "@daily", "timezone": "Europe/Berlin"}),
        ((None, "15m", None, None), {"every": "15m"}),
        ((None, "900", None, None), {"every": 900}),
        ((None, None, "2027-05-01T08:00", None), {"at": "2027-05-01T08:00:00+00:00"}),
        ((None, None, "2027-05-01T08:00Z", None), {"at": "2027-05-01T08:00:00+00:00"}),
        (
            (None, None, "2027-05-01 08:00", "Europe/Berlin"),
            {"at": "2027-05-01T08:00:00+02:00", "timezone": "Europe/Berlin"},
        ),
    ],
)
def test_what_options_mean(options: tuple[str | None, ...], meant: dict[str, Any]) -> None:
    cron, every, at, zone = options
    assert timing(cron, every, at, zone) == meant


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("@daily", "15m", None, None), "one of --cron, --every and --at"),
        ((None, None, "tomorrow", None), "'tomorrow' is no time"),
        ((None, None, "2027-05-01T08:00", "Europe/Nowhere"), "no time zone 'Europe/Nowhere'"),
    ],
)
def test_options_that_mean_nothing(
    options: tuple[str | None, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cron, every, at, zone = options
    with pytest.raises(typer.Exit) as ended:
        timing(cron, every, at, zone)
    assert (ended.value.exit_code, why in capsys.readouterr().err) == (2, True)


def test_times_are_shown_in_their_zone() -> None:
    runs = ["2027-03-28T01:00:00Z", "2027-10-31T00:30:00Z", "2027-10-31T01:30:00.5Z"]
    shown = next_times(NONE | {"timezone": "Europe/Berlin", "nextRuns": runs})
    assert shown == ["2027-03-28 03:00:00+02:00", "2027-10-31 02:30:00+02:00", "2027-10-31 02:30:00+01:00"]
    assert next_times(NONE | {"timezone": "Mars/Olympus", "nextRuns": runs[:1]}) == [
        "2027-03-28 01:00:00+00:00"
    ]


def test_a_schedule_in_words() -> None:
    assert when_of(NONE | {"cron": "30 2 * * *", "timezone": "Asia/Tokyo"}) == "30 2 * * * Asia/Tokyo"
    at = {"at": "2027-05-01T06:00:00Z", "timezone": "Europe/Berlin"}
    assert when_of(NONE | at) == "at 2027-05-01 08:00 Europe/Berlin"
    words = [when_of(NONE | {"every": seconds}) for seconds in (90, 5400, 7200, 86400)]
    assert words == ["every 90s UTC", "every 90m UTC", "every 2h UTC", "every 1d UTC"]
    assert state_of(NONE | {"nextRuns": ["2027-05-01T06:00:00Z"]}) == "on"
    assert state_of(NONE | {"nextRuns": []}) == "over"
    assert state_of(NONE | {"nextRuns": [], "paused": True}) == "paused"
    stopped = {"nextRuns": [], "paused": True, "reason": "Who it acts for has left."}
    assert state_of(NONE | stopped) == "paused: Who it acts for has left."
