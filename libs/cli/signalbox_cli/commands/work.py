"""`signalbox work`: ls, show, retry, drop."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from signalbox_cli.commands.common import HomeOption, JsonOption, as_operator, console, fail
from signalbox_common.programs import OWNERS

if TYPE_CHECKING:
    from nats.aio.client import Client

    from signalbox_common.contracts.work import WorkEntry

app = typer.Typer(help="Work that goes on after its request was answered.", no_args_is_help=True)
T = TypeVar("T")

Names = Annotated[list[str], typer.Argument(help="As `work ls` shows them: `tasks/12`.")]


@app.command("ls")
def list_work(
    home: HomeOption = None,
    service: Annotated[str | None, typer.Option(help="Of this service only.")] = None,
    state: Annotated[str | None, typer.Option(help="Only what is waiting, running or failed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What waits, what is at work, and what has failed for good."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.work import ListWork, WorkState

    if service is not None and service not in OWNERS:
        raise fail(f"there is no service {service}: {', '.join(OWNERS)}")
    if state is not None and state not in list(WorkState):
        raise fail(f"there is no state {state}: {', '.join(WorkState)}")
    wanted = WorkState(state) if state is not None else None

    async def collect(client: "Client") -> "list[tuple[str, WorkEntry]]":
        found: list[tuple[str, WorkEntry]] = []
        for owner in OWNERS if service is None else (service,):
            after = 0
            while page := (await request(client, ListWork(state=wanted, after=after), service=owner)).items:
                found += [(owner, entry) for entry in page]
                after = page[-1].id
        return found

    entries = _with_client(home, collect)
    if as_json:
        print(json.dumps([_as_json(owner, entry) for owner, entry in entries], indent=2))
        return
    if not entries:
        console.print("no work")
        return
    table = Table("work", "kind", "key", "state", "tries", "due", "error", box=None, header_style="dim")
    for owner, entry in entries:
        last_line = (entry.error or "").strip().splitlines()[-1:] or [""]
        table.add_row(
            f"{owner}/{entry.id}",
            escape(entry.kind),
            escape(entry.key),
            entry.state,
            str(entry.attempts),
            entry.due_at.isoformat(timespec="seconds")[:19],
            escape(last_line[0][:80]),
        )
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `work ls` shows it: `tasks/12`.")], home: HomeOption = None
) -> None:
    """One row of work with the stack of its last failure."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.work import GetWork

    owner, number = _parsed(name)
    entry = _with_client(home, lambda client: request(client, GetWork(id=number), service=owner))
    print(json.dumps(_as_json(owner, entry), indent=2))


@app.command()
def retry(names: Names, home: HomeOption = None) -> None:
    """Try it again now, as if it had never been tried."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.work import RetryWork

    async def each(client: "Client", owner: str, number: int) -> None:
        await request(client, RetryWork(id=number), service=owner)

    _for_each(home, names, each, "waits for its turn")


@app.command()
def drop(names: Names, home: HomeOption = None) -> None:
    """Take it away, whoever works on it; an operation that waits for it fails."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.work import DropWork

    async def each(client: "Client", owner: str, number: int) -> None:
        await request(client, DropWork(id=number), service=owner)

    _for_each(home, names, each, "dropped")


def _for_each(
    home: HomeOption,
    names: list[str],
    act: "Callable[[Client, str, int], Awaitable[None]]",
    done: str,
) -> None:
    """All of them, whatever becomes of one."""
    from signalbox_common.errors import SignalboxError

    parsed = [_parsed(name) for name in names]

    async def all_of_them(client: "Client") -> bool:
        fine = True
        for name, (owner, number) in zip(names, parsed, strict=True):
            try:
                await act(client, owner, number)
            except SignalboxError as error:
                console.print(f"{name}: [red]{error.code}[/] {escape(error.detail)}", soft_wrap=True)
                fine = False
            else:
                console.print(f"{name}: [green]{done}[/]")
        return fine

    if not _with_client(home, all_of_them):
        raise typer.Exit(1)


def _parsed(name: str) -> tuple[str, int]:
    owner, _, number = name.partition("/")
    if owner not in OWNERS or not number.isdecimal() or not 0 < int(number) < 2**63:
        raise fail(f"{name} is no work: it looks like tasks/12")
    return owner, int(number)


def _as_json(owner: str, entry: "WorkEntry") -> dict[str, object]:
    return {"service": owner, **entry.model_dump(mode="json", by_alias=True)}


def _with_client(home: HomeOption, work: "Callable[[Client], Awaitable[T]]") -> T:
    from signalbox_common.errors import SignalboxError

    try:
        return as_operator(home, work)
    except SignalboxError as error:
        raise fail(error.detail) from None
