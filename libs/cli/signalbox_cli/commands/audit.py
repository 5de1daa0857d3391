"""`signalbox audit`: verify."""

import json
from typing import TYPE_CHECKING

import typer

from signalbox_cli.commands.common import HomeOption, JsonOption, as_operator, console, errors, fail

if TYPE_CHECKING:
    from nats.aio.client import Client

    from signalbox_common.contracts.auth import AuditReport


app = typer.Typer(help="The log of who changed what.", no_args_is_help=True)


@app.command()
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Follow the chain of the audit log; exit code 1 where a line was changed or taken out."""
    from signalbox_cli.service_request import request
    from signalbox_common.contracts.auth import CheckAudit

    async def follow(client: "Client") -> "tuple[int, AuditReport]":
        lines = after = 0
        with errors.status("following the chain") as shown:
            while True:
                found = await request(client, CheckAudit(after=after))
                lines += found.checked
                if found.done:
                    return lines, found
                after = found.last
                shown.update(f"following the chain: {lines:,} lines")

    lines, end = as_operator(home, follow)
    if as_json:
        found = {"lines": lines, "unbroken": end.broken_at is None, "brokenAt": end.broken_at}
        print(json.dumps(found | {"reason": end.reason, "warnings": end.warnings}, indent=2))
        raise typer.Exit(0 if end.broken_at is None else 1)
    for warning in end.warnings:
        errors.print(f"[yellow]{warning}")
    if end.broken_at is not None:
        raise fail(f"broken at line {end.broken_at}: {end.reason} ({lines} lines before it are good)")
    console.print(f"{lines} lines, unbroken")
