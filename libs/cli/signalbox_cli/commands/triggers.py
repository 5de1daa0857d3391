"""`signalbox triggers`: what is started when others tell something, and what became of that."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    fail,
    plain,
    speaking_http,
)
from signalbox_cli.commands.triggering import EventOption, OnlyOption, PerMinuteOption, TakeOption, rules

if TYPE_CHECKING:
    from signalbox_cli.triggers import TriggerApi

app = typer.Typer(help="What is started when others tell something.", no_args_is_help=True)

TriggerName = Annotated[
    str, typer.Argument(metavar="TRIGGER", help="Its name, or the beginning or end of its id.")
]


@contextmanager
def _open(url: str | None, project: str | None = None) -> "Iterator[TriggerApi]":
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.triggers import TriggerApi

        with open_client(find_url(url)) as http:
            yield TriggerApi(http, project)


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List triggers, newest first."""
    from signalbox_cli.triggers import source_of, state_of

    with _open(url, project) as api:
        found = list(api.every())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("trigger", "told by", "last task", "state", box=None, header_style="dim")
    for each in found:
        table.add_row(
            cell(each["name"]), cell(source_of(each)), each["lastTaskId"] or "-", cell(state_of(each))
        )
    console.print(table)


@app.command()
def get(trigger: TriggerName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Show one, with the task that it creates."""
    with _open(url, project) as api:
        print(json.dumps(api.find(trigger), indent=2))


@app.command()
def update(
    trigger: TriggerName,
    name: Annotated[str | None, typer.Option("--name", help="What it is called from now on.")] = None,
    event: EventOption = None,
    only: OnlyOption = None,
    take: TakeOption = None,
    per_minute: PerMinuteOption = None,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Change what is named; from now on it acts for you."""
    body: dict[str, Any] = rules(only, take, per_minute)
    body |= {field: value for field, value in {"name": name, "event": event}.items() if value is not None}
    if not body:
        raise fail("say what changes: --name, --event, --only, --take, --per-minute", 2)
    with _open(url, project) as api:
        print(json.dumps(api.change(api.find(trigger)["id"], body), indent=2))


@app.command()
def pause(trigger: TriggerName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Start nothing more; what comes meanwhile starts nothing later either."""
    _do(trigger, "pause", project, url)


@app.command()
def resume(trigger: TriggerName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Go on, for you."""
    _do(trigger, "resume", project, url)


def _do(trigger: str, what: str, project: str | None, url: str | None) -> None:
    from signalbox_cli.triggers import state_of

    with _open(url, project) as api:
        print(plain(state_of(api.do(api.find(trigger)["id"], what))))


@app.command()
def rotate(
    trigger: TriggerName, project: ProjectOption = None, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Give it a new address and a new secret, shown this once; the old ones count no more."""
    with _open(url, project) as api:
        show_key(api.rotate(api.find(trigger)["id"]), as_json=as_json)


@app.command()
def history(
    trigger: TriggerName,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1)] = 20,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was told to it, and what became of that, newest first."""
    with _open(url, project) as api:
        found = list(islice(api.history(api.find(trigger)["id"]), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("task", no_wrap=True, min_width=36)
    table.add_column("time", no_wrap=True)
    table.add_column("what became of it")
    table.add_column("delivery", overflow="ellipsis", no_wrap=True)
    for each in found:
        told = f"{each['outcome']}: {each['reason']}" if each["reason"] else each["outcome"]
        when = each["calledAt"][:19].replace("T", " ")
        table.add_row(each["taskId"], when, cell(told), cell(each["delivery"] or "-"))
    console.print(table)


@app.command()
def delete(trigger: TriggerName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Remove one with its history; its tasks stay, and go on."""
    with _open(url, project) as api:
        api.delete(api.find(trigger)["id"])


def show_key(made: dict[str, Any], *, as_json: bool) -> None:
    """What is shown this once."""
    if as_json:
        print(json.dumps(made, indent=2))
        return
    print(made["trigger"]["id"])
    for what in ("address", "secret"):
        if made[what] is not None:
            print(f"{what} {made[what]}")
