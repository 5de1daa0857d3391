"""`signalbox secrets`: rotate."""

import typer
from rich.markup import escape

from signalbox_cli.commands.common import HomeOption, as_operator, console

ROTATION_PATIENCE = 60.0

app = typer.Typer(help="The store that keeps secrets encrypted.", no_args_is_help=True)


@app.command()
def rotate(home: HomeOption = None) -> None:
    """Make a new key for the secret store, and wrap every secret with it; safe to repeat."""
    from signalbox_cli.asking import request
    from signalbox_common.contracts.auth import RotateSecrets

    done = as_operator(home, lambda client: request(client, RotateSecrets(), patience=ROTATION_PATIENCE))
    console.print(f"{done.rewrapped} secrets of auth are wrapped with key [bold]{escape(done.key_id)}[/] now")
