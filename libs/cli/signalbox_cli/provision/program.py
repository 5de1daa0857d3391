"""Provisions the servers of the native stack: a program that the fork server forks, and that ends.

What it changed, or why it could not, it says on standard output.
"""

import asyncio
import os
import sys
from pathlib import Path

from signalbox_cli.provision import database, streams
from signalbox_cli.provision.credentials import Credentials
from signalbox_cli.provision.errors import ProvisionError

SECRETS, DATABASE_URL, NATS_URL = "SIGNALBOX_PROVISION_SECRETS", "DATABASE_URL", "NATS_URL"
"""Its environment: the file with all passwords, and the administrator's URLs."""


def main() -> None:
    try:
        changes = asyncio.run(_provision())
    except ProvisionError as error:
        print(error)
        sys.exit(1)
    for change in changes:
        print(change)


async def _provision() -> list[str]:
    secrets = Credentials.read(Path(os.environ[SECRETS]))
    changed = await asyncio.gather(
        database.provision(os.environ[DATABASE_URL], secrets), streams.provision(os.environ[NATS_URL])
    )
    return [*changed[0], *changed[1]]
