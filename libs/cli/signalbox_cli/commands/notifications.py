"""`signalbox notifications`: who is told what becomes of tasks, and what was sent to them."""

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
    errors,
    fail,
    plain,
    speaking_http,
)

if TYPE_CHECKING:
    from signalbox_cli.notifications import NotificationApi

app = typer.Typer(help="Who is told what becomes of tasks.", no_args_is_help=True)

NotificationName = Annotated[
    str, typer.Argument(metavar="NOTIFICATION", help="Its name, or the beginning or end of its id.")
]
_ENDS = ("succeeded", "failed", "cancelled", "timed_out")
_PATIENCE = 20.0
"""Seconds for one try, with what may come before it."""


@contextmanager
def _open(url: str | None, project: str | None = None) -> "Iterator[NotificationApi]":
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.notifications import NotificationApi

        with open_client(find_url(url)) as http:
            yield NotificationApi(http, project)


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List notifications, newest first."""
    from signalbox_cli.notifications import state_of

    with _open(url, project) as api:
        found = list(api.every())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("notification", "of", "to", "state", box=None, header_style="dim")
    for each in found:
        table.add_row(
            cell(each["name"]), cell(", ".join(each["states"])), cell(each["url"]), cell(state_of(each))
        )
    console.print(table)


@app.command()
def get(notification: NotificationName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Show one."""
    with _open(url, project) as api:
        print(json.dumps(api.find(notification), indent=2))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    to: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where it is sent: https://…")],
    states: Annotated[
        list[str] | None,
        typer.Option("--on", help="A state of tasks; several times for several. By default how they end."),
    ] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have others told; prints the secret that they know it by, this once."""
    with _open(url, project) as api:
        made = api.create({"name": name, "url": to, "states": states or list(_ENDS)})
    _print_key(made, as_json=as_json)


@app.command()
def update(
    notification: NotificationName,
    name: Annotated[str | None, typer.Option("--name", help="What it is called from now on.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Where it is sent from now on.")] = None,
    states: Annotated[list[str] | None, typer.Option("--on", help="A state of tasks.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Change what is named."""
    options = {"name": name, "url": to, "states": states or None}
    body = {field: value for field, value in options.items() if value is not None}
    if not body:
        raise fail("say what changes: --name, --to, --on", 2)
    with _open(url, project) as api:
        print(json.dumps(api.change(api.find(notification)["id"], body), indent=2))


@app.command()
def pause(notification: NotificationName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Tell nothing more; what waits to be sent goes on waiting."""
    _do(notification, "pause", project, url)


@app.command()
def resume(notification: NotificationName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Go on, with what waits to be sent."""
    _do(notification, "resume", project, url)


@app.command()
def rotate(
    notification: NotificationName,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a new secret; for a day the old one counts, too."""
    with _open(url, project) as api:
        made = api.rotate(api.find(notification)["id"])
    _print_key(made, as_json=as_json)


@app.command("test")
def ping(notification: NotificationName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Send a ping, and say what came of it."""
    with _open(url, project) as api:
        _print_tried(api.tried(api.test(api.find(notification)["id"]), _PATIENCE))


@app.command()
def deliveries(
    notification: NotificationName,
    status: Annotated[
        str | None, typer.Option("--status", help="pending, delivered or dead; by default all.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1)] = 20,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was sent, or is to be, newest first."""
    from signalbox_cli.notifications import told

    with _open(url, project) as api:
        found = list(islice(api.deliveries(api.find(notification)["id"], status), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("delivery", no_wrap=True, min_width=36)
    table.add_column("what", no_wrap=True)
    table.add_column("tries", justify="right")
    table.add_column("what came of it")
    for each in found:
        what = each["type"].removeprefix("tasks.")
        table.add_row(each["id"], cell(what), str(each["attempts"]), cell(told(each)))
    console.print(table)


@app.command()
def redeliver(
    notification: NotificationName,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, or how that begins or ends.")],
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Send one again now, under the same id, and say what came of it."""
    with _open(url, project) as api:
        of = api.find(notification)["id"]
        ids = [each["id"] for each in api.deliveries(of)]
        found = [each for each in ids if each.startswith(delivery) or each.endswith(delivery)]
        if len(found) != 1:
            raise fail(f"{len(found) or 'no'} deliveries have an id like {delivery!r}")
        _print_tried(api.tried(api.redeliver(of, found[0]), _PATIENCE))


@app.command()
def delete(notification: NotificationName, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Remove one with its history, and with what waits to be sent."""
    with _open(url, project) as api:
        api.delete(api.find(notification)["id"])


def _do(notification: str, what: str, project: str | None, url: str | None) -> None:
    from signalbox_cli.notifications import state_of

    with _open(url, project) as api:
        print(plain(state_of(api.do(api.find(notification)["id"], what))))


def _print_key(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
        return
    print(made["notification"]["id"])
    print(made["secret"])
    errors.print("the secret is shown this once", style="dim")


def _print_tried(delivery: dict[str, Any]) -> None:
    """Fails where it was not delivered."""
    from signalbox_cli.notifications import told

    print(plain(told(delivery)))
    if delivery["excerpt"]:
        print(plain(delivery["excerpt"]))
    if delivery["status"] != "delivered":
        raise typer.Exit(1)
