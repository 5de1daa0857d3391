"""What the routes of one repository stand on: whose it is."""

import uuid
from typing import Annotated, Any

from fastapi import Depends, Request

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.errors import SignalboxError
from signalbox_gateway.bytes_proxy import Place
from signalbox_gateway.errors import RepositoryNotFound
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.here import ClientsHere, Sender


async def _at_repository(
    request: Request, clients: ClientsHere, asker: CurrentAsker, repository_id: uuid.UUID
) -> Sender:
    """In its project; others' are answered like those that are not there."""
    project = await clients.project_of_repository(repository_id)
    sends = request.scope["route"].sends
    purpose = sends[0].verb() if sends and request.method != "GET" else None
    try:
        await clients.identity.grant(asker, "git", project, purpose=purpose)
    except SignalboxError as error:
        if error.status == 404:
            raise RepositoryNotFound from error
        raise
    return Sender(request, clients, asker, project)


AtRepository = Annotated[Sender, Depends(_at_repository)]
"""Below `/repositories/{repository_id}`."""


async def place_at(here: Sender, route: DataRoute, **names: Any) -> Place:
    """Of a route of the data plane of git; names without a value are left out."""
    if not isinstance(here.place, uuid.UUID):
        raise TypeError("a repository is in a project")
    found = (await here.clients.query(here.someone, contract.LocateGit(), project=here.place)).value()
    given = {name: str(value) for name, value in names.items() if value is not None}
    return Place(route, found.url, here.place, given)
