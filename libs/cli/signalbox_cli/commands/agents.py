"""`signalbox agents`: who works here, on what, and how well."""

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

if TYPE_CHECKING:
    from signalbox_cli.agents import AgentApi

app = typer.Typer(help="Who works here, on what, and how well.", no_args_is_help=True)

AgentName = Annotated[
    str, typer.Argument(metavar="AGENT", help="Its name, or the beginning or end of its id.")
]
BotOption = Annotated[str | None, typer.Option("--bot", help="The bot that it works as.")]
TeamOption = Annotated[str | None, typer.Option("--team", help="The team that it works as.")]
RoleOption = Annotated[str | None, typer.Option("--role", help="What it is there for.")]
ConcurrencyOption = Annotated[int | None, typer.Option("--concurrency", min=1, help="Runs at a time.")]
LimitOption = Annotated[int, typer.Option("--limit", "-l", min=1)]


@contextmanager
def _open(url: str | None, project: str | None = None) -> "Iterator[AgentApi]":
    with speaking_http():
        from signalbox_cli.agents import AgentApi
        from signalbox_cli.client import find_url, open_client

        with open_client(find_url(url)) as http:
            yield AgentApi(http, project)


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List agents, newest first."""
    with _open(url, project) as api:
        found = list(api.every())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("agent", "status", "works as", "runs", "success", "role", box=None, header_style="dim")
    for each in found:
        table.add_row(
            cell(each["name"]),
            each["status"],
            cell(each["bot"] or each["team"]),
            str(each["runs"]),
            _share(each["successRate"]),
            cell(each["role"]),
        )
    console.print(table)


@app.command()
def get(agent: AgentName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Show one, with all that is known of it."""
    with _open(url, project) as api:
        print(json.dumps(api.find(agent), indent=2))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Once in a project.")],
    bot: BotOption = None,
    team: TeamOption = None,
    role: RoleOption = None,
    concurrency: ConcurrencyOption = None,
    avatar: Annotated[str | None, typer.Option(help="The address of a picture.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a bot or a team a name that tasks are given to."""
    if (bot is None) == (team is None):
        raise fail("say one of --bot and --team", 2)
    body = {"name": name, "bot": bot, "team": team, "concurrency": concurrency, "avatarUrl": avatar}
    with _open(url, project) as api:
        made = api.create(body | {"role": role or ""})
    print(json.dumps(made, indent=2) if as_json else made["id"])


@app.command()
def update(
    agent: AgentName,
    name: Annotated[str | None, typer.Option("--name", help="What it is called from now on.")] = None,
    bot: BotOption = None,
    team: TeamOption = None,
    role: RoleOption = None,
    concurrency: ConcurrencyOption = None,
    unbounded: Annotated[bool, typer.Option("--unbounded", help="No bound of its own.")] = False,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Change what is named."""
    given = {"name": name, "bot": bot, "team": team, "role": role, "concurrency": concurrency}
    body: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if unbounded:
        body["concurrency"] = None
    with _open(url, project) as api:
        print(json.dumps(api.change(api.find(agent)["id"], body), indent=2))


@app.command()
def delete(agent: AgentName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Remove one with what was counted of it; its tasks stay."""
    with _open(url, project) as api:
        api.delete(api.find(agent)["id"])


@app.command()
def history(
    agent: AgentName,
    limit: LimitOption = 20,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List its runs, newest first."""
    with _open(url, project) as api:
        found = list(islice(api.history(api.find(agent)["id"]), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("task", no_wrap=True, min_width=36)
    for head in ("status", "queued", "seconds"):
        table.add_column(head, no_wrap=True)
    table.add_column("title", overflow="ellipsis", no_wrap=True, ratio=1)
    for each in found:
        seconds = "" if each["durationMs"] is None else f"{each['durationMs'] / 1000:.1f}"
        table.add_row(each["taskId"], each["status"], _when(each["queuedAt"]), seconds, cell(each["title"]))
    console.print(table)


@app.command()
def activity(
    agent: AgentName,
    limit: LimitOption = 20,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was noted of it, newest first."""
    with _open(url, project) as api:
        found = list(islice(api.activity(api.find(agent)["id"]), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for each in found:
        words = f"{_when(each['createdAt'])}  {each['type']}  {plain(each['message'])}"
        console.print(words, markup=False, soft_wrap=True)


@app.command()
def note(
    agent: AgentName,
    message: Annotated[str, typer.Argument()],
    type_: Annotated[str, typer.Option("--type", help="A word for what it is.")] = "note",
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Note something of it."""
    with _open(url, project) as api:
        api.note(api.find(agent)["id"], {"type": type_, "message": message})


@app.command()
def metrics(
    agent: AgentName,
    since: Annotated[str | None, typer.Option("--from", help="A day; by default 30 days ago.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last day; by default today.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many of its runs have succeeded, and how long they took."""
    with _open(url, project) as api:
        found = api.metrics(api.find(agent)["id"], since, until)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(
        "day", "runs", "succeeded", "failed", "cancelled", "timed out", box=None, header_style="dim"
    )
    names = ("runs", "succeeded", "failed", "cancelled", "timedOut")
    for day in found["days"]:
        table.add_row(day["day"], *(str(day[name]) for name in names))
    table.add_row("all", *(str(found[name]) for name in names), style="bold")
    console.print(table)
    console.print(
        f"success {_share(found['successRate'])}, half of them within {_seconds(found['durationP50'])}, "
        f"95 of 100 within {_seconds(found['durationP95'])}"
    )


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.0f} %"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def _when(moment: str) -> str:
    return moment[:19].replace("T", " ")
