"""What the routes of one sandbox stand on: whose it is, and where it runs."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError
from signalbox_gateway.clients import Clients
from signalbox_gateway.errors import SandboxNotFound
from signalbox_gateway.identity import Asker, CurrentAsker
from signalbox_gateway.routes.here import ClientsHere, Sender

OF_SANDBOX = (
    (404, "sandbox_not_found"),
    (409, "sandbox_ended"),
    (409, "sandbox_paused"),
    (409, "not_running_yet"),
    (403, "role_too_low"),
    (403, "insufficient_scope"),
)


class SandboxBody(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


async def sender_at(
    request: Request, clients: Clients, asker: Asker, sandbox: uuid.UUID, purpose: str | None
) -> Sender:
    """In the project of the sandbox; others' are answered like those that are not there."""
    project = await clients.project_of(contract.FindSandbox(sandbox=sandbox))
    try:
        await clients.identity.grant(asker, "sandbox", project, purpose=purpose)
    except SignalboxError as error:
        if error.status == 404:
            raise SandboxNotFound from error
        raise
    return Sender(request, clients, asker, project)


async def _at_sandbox(
    request: Request, clients: ClientsHere, asker: CurrentAsker, sandbox_id: uuid.UUID
) -> Sender:
    sends = request.scope["route"].sends
    changes = request.method != "GET"
    own = sends[0] if sends and sends[0].owner() == "sandbox" else None
    purpose = own.verb() if changes and own is not None else contract.EXECUTE if changes else None
    return await sender_at(request, clients, asker, sandbox_id, purpose)


AtSandbox = Annotated[Sender, Depends(_at_sandbox)]
"""Below `/sandboxes/{sandbox_id}`."""


async def location_of(here: Sender, sandbox: uuid.UUID) -> contract.SandboxLocation:
    """Raises what it is instead, where it does not run."""
    question = contract.LocateSandbox(sandbox=sandbox)
    return (await here.clients.query(here.someone, question, project=project_of(here))).value()


def project_of(here: Sender) -> uuid.UUID:
    if not isinstance(here.place, uuid.UUID):
        raise TypeError("a sandbox is in a project")
    return here.place


@asynccontextmanager
async def client_at(here: Sender, sandbox: uuid.UUID, does: str) -> AsyncIterator[DataClient]:
    """Of the data plane there; raises what it is instead, where it does not run."""
    location, project = await location_of(here, sandbox), project_of(here)
    async with here.clients.bytes.client(here.someone, "sandbox", location.url, project, does) as client:
        yield client
