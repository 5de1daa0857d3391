"""What runs here, and what the asker may do."""

import uuid
from typing import Annotated

from fastapi import Query

from signalbox_common import __version__
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import GrantScope, Message, Request, contracts_of
from signalbox_common.errors import Forbidden
from signalbox_common.principal import Standing, authorize
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker, CurrentAsker
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.routes.router import Routes

routes = Routes("", "info")


class InfoUser(Message):
    id: uuid.UUID
    username: str
    role: contract.PlatformRole


class InfoProject(Message):
    id: uuid.UUID
    role: contract.ProjectRole


class Info(Message):
    name: str = "Signalbox"
    version: str
    user: InfoUser
    project: InfoProject | None = None
    may: tuple[str, ...]
    """What the asker may ask for: of everything that needs no project, and of that project."""


@routes.on("GET", "/api/v1/info", contract.Identify, contract.GetGrant, reply=Info, grant=GrantScope.PROJECT)
async def info(
    asker: CurrentAsker,
    clients: ClientsHere,
    project_id: Annotated[uuid.UUID | None, Query(alias="projectId")] = None,
) -> Info:
    """The version, and what the asker may do in a project (or without one)."""
    return await _info(asker, clients, project_id)


@routes.on("GET", "/info", contract.Identify, contract.GetGrant, reply=Info, grant=GrantScope.PROJECT)
async def info_at_the_root(
    asker: CurrentAsker, clients: ClientsHere, project_id: uuid.UUID | None = None
) -> Info:
    """The same."""
    return await _info(asker, clients, project_id)


async def _info(asker: Asker, clients: Clients, project_id: uuid.UUID | None) -> Info:
    who = await clients.identify(asker)
    grant = await clients.identity.grant(asker, "auth", project_id)
    standing = Standing(
        role=who.role,
        project_role=grant.role,
        in_person=who.session_id is not None,
        scopes=frozenset(who.scopes) if who.scopes is not None else None,
    )
    return Info(
        version=__version__,
        user=InfoUser(id=who.user_id, username=who.username, role=who.role),
        project=InfoProject(id=project_id, role=grant.role) if project_id and grant.role else None,
        may=tuple(
            request.verb()
            for request in contracts_of(Request)
            if request.grant is not GrantScope.NONE and _allowed(request, standing)
        ),
    )


def _allowed(request: type[Request[contract.User]], standing: Standing) -> bool:
    try:
        authorize(request, standing)
    except Forbidden:
        return False
    return True
