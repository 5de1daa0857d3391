"""`signalbox keys`: list, rotate."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from signalbox_cli.commands.common import HomeOption, JsonOption, as_operator, console

if TYPE_CHECKING:
    from signalbox_common.contracts.auth import Keys

app = typer.Typer(help="The keys that sign tokens.", no_args_is_help=True)

_MEANING = {
    "current": "signs",
    "next": "known to everybody, signs after the next rotation",
    "retired": "vouches for what it has signed",
}


@app.command("list")
def list_keys(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """The keys that a good token can be signed with, and the one that comes next."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.auth import ListKeys

    _show(as_operator(home, lambda client: request(client, ListKeys())), as_json=as_json)


@app.command()
def rotate(
    home: HomeOption = None,
    distrust_old: Annotated[
        bool, typer.Option("--distrust-old", help="Refuse at once what the keys until now have signed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign with the next key from now on; sessions go on, whatever becomes of their access tokens."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.auth import RotateKeys

    ask = RotateKeys(distrust_old=distrust_old)
    _show(as_operator(home, lambda client: request(client, ask)), as_json=as_json)


def _show(keys: "Keys", *, as_json: bool) -> None:
    if as_json:
        print(keys.model_dump_json(by_alias=True, indent=2))
        return
    table = Table("key", "state", "", box=None, header_style="dim")
    for key in keys.items:
        table.add_row(key.kid, key.state, _MEANING[key.state], style="bold" if key.state == "current" else "")
    console.print(table)
