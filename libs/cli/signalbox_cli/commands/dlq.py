"""`signalbox dlq`: list, show, redrive, drop."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from signalbox_cli.commands.common import HomeOption, JsonOption, as_operator, console, fail

if TYPE_CHECKING:
    from nats.aio.client import Client

    from signalbox_cli.deadletters import Letter

app = typer.Typer(help="Dead letters: what could not be handled, and why.", no_args_is_help=True)
T = TypeVar("T")

Numbers = Annotated[list[int], typer.Argument(help="Numbers as `dlq list` shows them.")]


@app.command("list")
def list_letters(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """All dead letters, oldest first."""
    from signalbox_cli import deadletters

    async def collect(client: "Client") -> "list[Letter]":
        return [letter async for letter in deadletters.read_all(client)]

    letters = _with_client(home, collect)
    if as_json:
        print(json.dumps([letter.summary() for letter in letters], indent=2))
        return
    if not letters:
        console.print("no dead letters")
        return
    table = Table("number", "when", "subject", "reason", "attempts", "error", box=None, header_style="dim")
    for letter in letters:
        last_line = str(letter.about["error"]).strip().splitlines()[-1:] or [""]
        table.add_row(
            str(letter.number),
            letter.time[:19],
            escape(str(letter.about["subject"])),
            escape(str(letter.about["reason"])),
            str(letter.about["attempts"]),
            escape(last_line[0][:80]),
        )
    console.print(table)


@app.command()
def show(number: int, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """One dead letter with its body and the stack of its last failure."""
    from signalbox_cli import deadletters

    letter = _with_client(home, lambda client: deadletters.read(client, number))
    if as_json:
        print(json.dumps(letter.full(), indent=2))
        return
    for key, value in letter.full().items():
        if key == "error":
            continue
        shown = json.dumps(value) if isinstance(value, dict) else str(value)
        console.print(f"[dim]{key:<15}[/] {escape(shown)}")
    console.print(f"\n{letter.about['error']}", markup=False)


@app.command()
def redrive(numbers: Numbers, home: HomeOption = None) -> None:
    """Hand dead letters to their handlers again, under the time and the person of their acceptance."""
    from signalbox_cli import deadletters
    from signalbox_common.contracts.base import Failure

    async def each(client: "Client") -> bool:
        fine = True
        for number in numbers:
            result = await deadletters.redrive(client, number)
            if isinstance(result, Failure):
                console.print(f"{number}: [red]{result.code}[/] {escape(result.detail)}")
                fine = False
            elif result.outcome == "failed":
                why = result.failure.detail if result.failure else ""
                console.print(f"{number}: [red]still failing[/] {escape(why)}", soft_wrap=True)
                fine = False
            else:
                console.print(f"{number}: [green]{result.outcome}[/]")
        return fine

    if not _with_client(home, each):
        raise typer.Exit(1)


@app.command()
def drop(numbers: Numbers, home: HomeOption = None) -> None:
    """Delete dead letters for good."""
    from signalbox_cli import deadletters

    async def each(client: "Client") -> None:
        for number in numbers:
            await deadletters.drop(client, number)
            console.print(f"{number}: dropped")

    _with_client(home, each)


def _with_client(home: HomeOption, work: "Callable[[Client], Awaitable[T]]") -> T:
    from signalbox_cli import deadletters

    try:
        return as_operator(home, work)
    except deadletters.NoSuchLetter as error:
        raise fail(str(error)) from None
