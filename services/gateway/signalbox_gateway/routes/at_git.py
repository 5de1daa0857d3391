"""What the routes of things of git stand on: whose they are."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from signalbox_common.contracts import base
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.errors import SignalboxError
from signalbox_gateway import errors
from signalbox_gateway.bytes_proxy import Place
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.here import ClientsHere, Sender


class GitBody(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


def _in_project_of(
    name: str, find: Callable[[uuid.UUID], base.Query[Any]], not_found: type[SignalboxError]
) -> Any:
    """In the project of what the address calls so; others' are answered like those that are not there."""

    async def at(request: Request, clients: ClientsHere, asker: CurrentAsker) -> Sender:
        try:
            thing = uuid.UUID(request.path_params[name])
        except ValueError:
            raise not_found from None
        project = await clients.project_of(find(thing))
        sends = request.scope["route"].sends
        purpose = None if not sends or issubclass(sends[0], base.Query) else sends[0].verb()
        try:
            await clients.identity.grant(asker, "git", project, purpose=purpose)
        except SignalboxError as error:
            if error.status == 404:
                raise not_found from error
            raise
        return Sender(request, clients, asker, project)

    return Depends(at)


AtRepository = Annotated[
    Sender,
    _in_project_of(
        "repository_id", lambda found: contract.FindRepository(repository=found), errors.RepositoryNotFound
    ),
]
"""Below `/repositories/{repository_id}`."""

AtPullRequest = Annotated[
    Sender,
    _in_project_of(
        "pull_request_id",
        lambda found: contract.FindPullRequest(pull_request=found),
        errors.PullRequestNotFound,
    ),
]
"""Below `/pull-requests/{pull_request_id}`."""

AtDelivery = Annotated[
    Sender,
    _in_project_of(
        "delivery_id", lambda found: contract.FindDelivery(delivery=found), errors.DeliveryNotFound
    ),
]
"""Below `/deliveries/{delivery_id}`."""

AtGitCredential = Annotated[
    Sender,
    _in_project_of(
        "credential_id", lambda found: contract.FindGitCredential(credential=found), errors.CredentialNotFound
    ),
]
"""Below `/git-credentials/{credential_id}`."""


async def place_at(here: Sender, route: DataRoute, **names: Any) -> Place:
    """Of a route of the data plane of git; names without a value are left out."""
    if not isinstance(here.place, uuid.UUID):
        raise TypeError("a repository is in a project")
    found = (await here.clients.query(here.someone, contract.LocateGit(), project=here.place)).value()
    given = {name: str(value) for name, value in names.items() if value is not None}
    return Place(route, found.url, here.place, given)
