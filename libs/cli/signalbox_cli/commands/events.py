"""`signalbox tail`, `publisher` and `nats-context`: events for operators, and from services outside."""

import asyncio
import json
import os
import sys
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from signalbox_cli.commands.common import HomeOption, JsonOption, console, errors, fail
from signalbox_cli.stack.home import Home

if TYPE_CHECKING:
    from rich.text import Text

    from signalbox_cli.provision.credentials import Publisher
    from signalbox_cli.publishers import Installation

publisher = typer.Typer(help="Services outside that publish events of a project.", no_args_is_help=True)

DirOption = Annotated[
    Path | None,
    typer.Option("--dir", help="What `signalbox credentials` has written, for servers in containers."),
]


def tail(
    subject: Annotated[
        str | None,
        typer.Argument(help="A subject (`evt.*.tasks.>`), or the type of events or its beginning (`tasks`)."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Also what happened before: 30s, 10m, 2h, 7d.")] = None,
    project: Annotated[str | None, typer.Option(help="The id of a project.")] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", "-f", help="Go on; without --since this is so by default."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show events as they happen, with an operator's rights: each once, in order, also across restarts."""
    from nats.errors import Error as NatsError

    from signalbox_cli import tail as tailing
    from signalbox_cli.operator import NoStack, Operator

    try:
        wanted = tailing.subject_of(subject, project)
        before = tailing.span(since) if since is not None else None
        operator = Operator(Home.find(home))
    except (tailing.BadFilter, NoStack) as error:
        raise fail(str(error)) from None
    goes_on = follow if follow is not None else since is None

    async def show() -> None:
        showing = asyncio.current_task()
        with tailing.while_read(lambda: showing is not None and showing.cancel()):
            async with aclosing(tailing.events(operator, wanted, before, ends=not goes_on)) as each:
                async for seen in each:
                    if as_json:
                        print(tailing.as_json(seen), flush=True)
                    else:
                        _print(tailing.line(seen))

    if not as_json and goes_on:
        errors.print(f"[dim]{wanted}; Ctrl-C ends it[/]", soft_wrap=True)
    try:
        asyncio.run(show())
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        _forget_output()
    except (OSError, NatsError, TimeoutError) as error:
        raise fail(f"the stack is not reachable: {error or type(error).__name__}") from None


def _print(text: "Text") -> None:
    try:
        console.print(text, soft_wrap=True)
    except SystemExit:  # rich wants to end the process, wherever it is
        raise BrokenPipeError from None


def _forget_output() -> None:
    """Nobody reads it any more: what is left of it must not become an error at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def nats_context(
    name: Annotated[str, typer.Option(help="What the context is called.")] = "signalbox",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="By default ~/.config/nats, where the `nats` tool looks.")
    ] = None,
    select: Annotated[bool, typer.Option(help="Make it the one that `nats` uses.")] = False,
    home: HomeOption = None,
) -> None:
    """Write a context for the stock `nats` tool, with the operator's rights."""
    from signalbox_cli import natscontext
    from signalbox_cli.operator import NoStack, Operator

    try:
        path = natscontext.write(Operator(Home.find(home)), name, directory, select=select)
    except (NoStack, natscontext.BadContextName, OSError) as error:
        raise fail(str(error)) from None
    console.print(
        f"{escape(str(path))} is written: [bold]nats --context {name} sub 'evt.>'[/]", soft_wrap=True
    )


@publisher.command("create")
def create_publisher(
    name: str,
    project: Annotated[str, typer.Option(help="The id of the project whose events it publishes.")],
    home: HomeOption = None,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a service outside a NATS user of its own, which may publish below `ext.<project>.` only."""
    from signalbox_cli import publishers

    try:
        installation, where = _installation(home, directory)
        made, reloaded = publishers.create(installation, name, project)
    except (publishers.PublisherError, OSError) as error:
        raise fail(str(error)) from None
    user, url = made.user(name), _url(made, name, where)
    if reloaded and not (
        asyncio.run(publishers.is_let_in(url, user))
        and asyncio.run(publishers.is_heard(installation, url, user, project))
    ):
        raise fail("NATS has not taken the new user: look into its log, or restart the stack")
    if as_json:
        told = {"name": name, "url": url, "subject": f"ext.{project}.>", "inboxPrefix": f"_INBOX.{user}"}
        print(json.dumps(told, indent=2))
        return
    console.print(f"NATS_URL={url}", soft_wrap=True, markup=False)
    console.print(f"publish to   ext.{project}.<type>", soft_wrap=True, markup=False)
    console.print(f"inbox prefix _INBOX.{user}", soft_wrap=True, markup=False)
    if not reloaded:
        errors.print("NATS knows it as soon as it reads its configuration twice (SIGHUP) or starts anew.")


@publisher.command("list")
def list_publishers(
    home: HomeOption = None, directory: DirOption = None, as_json: JsonOption = False
) -> None:
    """Who may publish from outside, and for which project."""
    from signalbox_cli import publishers

    try:
        known = _installation(home, directory)[0].publishers()
    except (publishers.PublisherError, OSError) as error:
        raise fail(str(error)) from None
    if as_json:
        print(json.dumps([{"name": name, "project": each.project} for name, each in sorted(known.items())]))
        return
    table = Table("name", "project", box=None, header_style="dim")
    for name, each in sorted(known.items()):
        table.add_row(name, each.project)
    console.print(table if known else "no publishers")


@publisher.command("delete")
def delete_publisher(name: str, home: HomeOption = None, directory: DirOption = None) -> None:
    """Take its user away; what it has open is closed."""
    from signalbox_cli import publishers

    try:
        installation, where = _installation(home, directory)
        gone, reloaded = publishers.delete(installation, name)
    except (publishers.PublisherError, OSError) as error:
        raise fail(str(error)) from None
    user, url = gone.user(name), _url(gone, name, where)
    if reloaded and not asyncio.run(publishers.is_let_in(url, user, wanted=False)):
        raise fail("NATS still lets it in: look into its log, or restart the stack")
    console.print(f"publisher {name} is gone", markup=False)
    if not reloaded:
        errors.print("NATS knows it as soon as it reads its configuration again (SIGHUP) or starts anew.")


def _url(made: "Publisher", name: str, where: str) -> str:
    return f"nats://{made.user(name)}:{made.password}@{where}"


def _installation(home: Path | None, directory: Path | None) -> "tuple[Installation, str]":
    """And where NATS is."""
    from urllib.parse import urlsplit

    from signalbox_cli import publishers

    if directory is not None:
        file, installation = directory / "provision" / "nats-url", publishers.of_containers(directory)
    else:
        place = Home.find(home)
        file, installation = place.credentials / "operator" / "nats-url", publishers.of_stack(place)
    try:
        url = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise publishers.PublisherError(f"{file} is missing: start the stack first") from None
    return installation, urlsplit(url).netloc.rpartition("@")[2]
