"""`signalbox credentials` and `signalbox provision`: for servers that run elsewhere."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from signalbox_cli.commands.common import console, fail


def credentials(
    directory: Annotated[Path, typer.Option("--dir", help="Where to write them.")],
    postgres: Annotated[str, typer.Option(help="host:port as the services see it.")] = "postgres:5432",
    redis: Annotated[str, typer.Option(help="host:port")] = "redis:6379",
    nats: Annotated[str, typer.Option(help="host:port")] = "nats:4222",
    shared: Annotated[
        bool, typer.Option("--shared", help="Readable by all: for volumes that are mounted part by part.")
    ] = False,
) -> None:
    """Make the passwords of an installation in containers: a folder for each service and server."""
    from signalbox_cli.provision import credentials as made

    endpoints = made.Endpoints(postgres=postgres, redis=redis, nats=nats)
    mode = 0o644 if shared else 0o600
    secrets = made.Credentials.load_or_make(directory / "provision" / "secrets.json", mode)
    made.write_server_files(directory, secrets, endpoints, mode)
    made.write_service_files(directory, secrets, endpoints, mode)
    administrator = made.postgres_admin_url(secrets, postgres)
    made.write_operator_files(directory, secrets, endpoints, administrator, mode)
    console.print(f"credentials are in {directory}")


def provision(
    directory: Annotated[Path, typer.Option("--dir", help="What `signalbox credentials` has written.")],
    patience: Annotated[float, typer.Option(help="Seconds to wait for the servers.")] = 60.0,
) -> None:
    """Create roles, schemas, streams and consumers, and migrate. Only adds; safe to repeat."""
    from signalbox_cli.provision import run

    try:
        changes = asyncio.run(run.provision(directory, patience))
    except run.ProvisionError as error:
        raise fail(str(error)) from None
    for change in changes:
        console.print(change)
    console.print("provisioned" if changes else "everything was there already")
