"""`signalbox secrets`: rotate."""

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from signalbox_cli.commands.common import HomeOption, as_operator, console
from signalbox_common.programs import OWNERS

if TYPE_CHECKING:
    from nats.aio.client import Client

ROTATION_PATIENCE = 60.0

app = typer.Typer(help="The stores that keep secrets encrypted.", no_args_is_help=True)


@app.command()
def rotate(home: HomeOption = None) -> None:
    """Make new keys for the secret stores, and wrap every secret with them; safe to repeat."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.rotation import RotateSecrets, RotationReport

    for service in OWNERS:

        async def rotated(client: "Client", service: str = service) -> RotationReport:
            return await request(client, RotateSecrets(), service=service, patience=ROTATION_PATIENCE)

        done = as_operator(home, rotated)
        console.print(
            f"{done.rewrapped} secrets of {service} are wrapped with key [bold]{escape(done.key_id)}[/] now",
            soft_wrap=True,
        )
