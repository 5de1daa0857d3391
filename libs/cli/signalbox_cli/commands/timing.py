"""When something is done by itself, as options say it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from signalbox_cli.commands.common import fail

TIMES = "Schedule"

CronOption = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="EXPR",
        help="Minute, hour, day, month, day of the week; or @daily and the like.",
        rich_help_panel=TIMES,
    ),
]
EveryOption = Annotated[
    str | None,
    typer.Option("--every", metavar="15m", help="A number with s, m, h or d.", rich_help_panel=TIMES),
]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Once, like 2027-05-01T08:00.", rich_help_panel=TIMES),
]
ZoneOption = Annotated[
    str | None,
    typer.Option("--timezone", metavar="ZONE", help="Like Europe/Berlin.", rich_help_panel=TIMES),
]
OverlapOption = Annotated[
    Literal["skip", "queue", "cancel"] | None,
    typer.Option("--overlap", help="If an earlier task has not ended.", rich_help_panel=TIMES),
]
MisfireOption = Annotated[
    Literal["skip", "once", "all"] | None,
    typer.Option("--misfire", help="What becomes of times that were missed.", rich_help_panel=TIMES),
]


def timing(
    cron: str | None, every: str | None, at: str | None, zone: str | None, *, zone_before: str = "UTC"
) -> dict[str, Any]:
    """One of the times, or none, and the zone where one is given."""
    if sum(each is not None for each in (cron, every, at)) > 1:
        raise fail("say one of --cron, --every and --at", 2)
    found = {
        "cron": cron,
        "every": int(every) if every is not None and every.isdecimal() else every,
        "at": _moment(at, zone or zone_before) if at is not None else None,
        "timezone": zone,
    }
    return given(found)


def given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _moment(text: str, zone: str) -> str:
    """With its offset; where it says none, it is meant in that zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"--at: {text!r} is no time like 2027-05-01T08:00", 2) from None
    if moment.tzinfo is None:
        try:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise fail(f"there is no time zone {zone!r} here: say --at with its offset", 2) from None
    return moment.isoformat()
