"""Provisions servers that run elsewhere, with the administrator's credentials."""

import asyncio
import time
from pathlib import Path

import asyncpg
import nats.errors
from sqlalchemy.exc import DBAPIError

from signalbox_cli.provision import database, streams
from signalbox_cli.provision.credentials import Credentials
from signalbox_cli.provision.errors import ProvisionError

__all__ = ["ProvisionError", "provision"]

_NOT_THERE_YET = (OSError, DBAPIError, asyncpg.PostgresError, nats.errors.Error, TimeoutError)


async def provision(directory: Path, patience: float) -> list[str]:
    own = directory / "provision"
    try:
        secrets = Credentials.read(own / "secrets.json")
        database_url = (own / "database-url").read_text(encoding="utf-8")
        nats_url = (own / "nats-url").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ProvisionError(f"{error.filename} is missing: run `signalbox credentials` first") from error
    deadline = time.monotonic() + patience
    while True:
        try:
            return [*await database.provision(database_url, secrets), *await streams.provision(nats_url)]
        except _NOT_THERE_YET as error:
            if time.monotonic() > deadline:
                raise ProvisionError(f"the servers are not there: {error}") from error
            await asyncio.sleep(0.5)
