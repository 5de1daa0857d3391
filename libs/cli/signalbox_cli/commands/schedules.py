"""`signalbox schedules`: what is started by itself, when, and what became of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import (
    JsonOption,
    ProjectOption,
    UrlOption,
    cell,
    console,
    errors,
    fail,
    plain,
    speaking_http,
)
from signalbox_cli.commands.run_output import follow
from signalbox_cli.commands.timing import (
    AtOption,
    CronOption,
    EveryOption,
    MisfireOption,
    OverlapOption,
    ZoneOption,
    given,
    timing,
)

if TYPE_CHECKING:
    from signalbox_cli.schedules import ScheduleApi

app = typer.Typer(help="What is started by itself, and when.", no_args_is_help=True)

ScheduleName = Annotated[
    str, typer.Argument(metavar="SCHEDULE", help="Its name, or the beginning or end of its id.")
]
_KNOWN = 5
"""Times of one schedule that the service tells."""


@contextmanager
def _open(url: str | None, project: str | None = None) -> "Iterator[ScheduleApi]":
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.schedules import ScheduleApi

        with open_client(find_url(url)) as http:
            yield ScheduleApi(http, project)


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List schedules, newest first, with times in the zone of each."""
    from signalbox_cli.schedules import state_of, when_of

    with _open(url, project) as api:
        found = list(api.every())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("schedule", "when", "next", "last", "state", box=None, header_style="dim")
    for each in found:
        coming = each["nextRuns"][0] if each["nextRuns"] else None
        moments = (_minute(each, coming), _minute(each, each["lastRun"]))
        table.add_row(cell(each["name"]), cell(when_of(each)), *moments, cell(state_of(each)))
    console.print(table)


@app.command()
def get(schedule: ScheduleName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Show one, with the task that it creates."""
    with _open(url, project) as api:
        print(json.dumps(api.find(schedule), indent=2))


@app.command("next")
def next_(
    schedule: Annotated[
        str | None, typer.Argument(metavar="SCHEDULE", help="By default the next time of each.")
    ] = None,
    count: Annotated[int | None, typer.Option("-n", min=1, help=f"How many; {_KNOWN} of one.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Print when it comes next, in its zone; without a name, what comes of all, soonest first."""
    from signalbox_cli.schedules import next_times

    if schedule is not None and (count or 0) > _KNOWN:
        raise fail(f"the next {_KNOWN} times of a schedule are known, not {count}", 2)
    with _open(url, project) as api:
        if schedule is not None:
            found = api.find(schedule)
            for line in next_times(found)[:count]:
                print(line)
            if not found["nextRuns"]:
                errors.print(_nothing_comes(found), markup=False, soft_wrap=True)
            return
        coming = sorted((each for each in api.every() if each["nextRuns"]), key=_soonest)
    for each in coming[:count]:
        print(f"{next_times(each)[0]}  {plain(each['name'])}")


@app.command()
def update(
    schedule: ScheduleName,
    name: Annotated[str | None, typer.Option("--name", help="What it is called from now on.")] = None,
    cron: CronOption = None,
    every: EveryOption = None,
    at: AtOption = None,
    timezone: ZoneOption = None,
    overlap: OverlapOption = None,
    misfire: MisfireOption = None,
    misfire_limit: Annotated[
        int | None, typer.Option("--misfire-limit", help="How many times are made up for at most.")
    ] = None,
    late_after: Annotated[
        int | None, typer.Option("--late-after", help="Seconds after which a time counts as missed.")
    ] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Change what is named; from now on it acts for you."""
    options = {
        "name": name,
        "overlap": overlap,
        "misfire": misfire,
        "misfireLimit": misfire_limit,
        "lateAfter": late_after,
    }
    if all(each is None for each in (cron, every, at, timezone, *options.values())):
        raise fail("say what changes: --name, --cron, --every, --at, …", 2)
    with _open(url, project) as api:
        found = api.find(schedule)
        when = timing(cron, every, at, timezone, zone_before=found["timezone"])
        print(json.dumps(api.change(found["id"], given(options) | when), indent=2))


@app.command()
def pause(schedule: ScheduleName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Start nothing more; what comes meanwhile is not made up for."""
    with _open(url, project) as api:
        print(_state(api.do(api.find(schedule)["id"], "pause")))


@app.command()
def resume(schedule: ScheduleName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Go on from now on, for you."""
    with _open(url, project) as api:
        print(_state(api.do(api.find(schedule)["id"], "resume")))


@app.command("run-now")
def run_now(
    schedule: ScheduleName,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for it.")] = False,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do its task once now, beside its times, for you."""
    with _open(url, project) as api:
        from signalbox_cli.tasks import TaskApi

        task = api.run(api.find(schedule)["id"])
        if detach:
            print(json.dumps(task, indent=2) if as_json else task["id"])
            return
        follow(TaskApi(api.http), task, as_json=as_json)


@app.command()
def history(
    schedule: ScheduleName,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1)] = 20,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what became of its times, newest first, in its zone."""
    from signalbox_cli.schedules import in_zone

    with _open(url, project) as api:
        of = api.find(schedule)
        found = list(islice(api.history(of["id"]), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("task", no_wrap=True, min_width=36)
    table.add_column("time", no_wrap=True)
    table.add_column("what became of it")
    for each in found:
        table.add_row(each["taskId"], f"{in_zone(of, each['dueAt']):%Y-%m-%d %H:%M:%S}", cell(_told(each)))
    console.print(table)


@app.command()
def delete(schedule: ScheduleName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Remove one with its history; its tasks stay, and go on."""
    with _open(url, project) as api:
        api.delete(api.find(schedule)["id"])


def _minute(schedule: dict[str, Any], moment: str | None) -> str:
    from signalbox_cli.schedules import in_zone

    return f"{in_zone(schedule, moment):%Y-%m-%d %H:%M}" if moment is not None else "-"


def _soonest(schedule: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(schedule["nextRuns"][0])


def _state(schedule: dict[str, Any]) -> str:
    from signalbox_cli.schedules import next_times, state_of

    return f"next {next_times(schedule)[0]}" if schedule["nextRuns"] else plain(state_of(schedule))


def _nothing_comes(schedule: dict[str, Any]) -> str:
    from signalbox_cli.schedules import state_of

    return f"nothing comes: it is {plain(state_of(schedule))}"


def _told(firing: dict[str, Any]) -> str:
    several = f" {firing['times']}" if firing["times"] > 1 else ""
    asked = "asked for" if firing["askedBy"] is not None else None
    why = firing["reason"] or asked
    return f"{firing['outcome']}{several}" + (f": {why}" if why else "")
