"""What the routes of things of git stand on: whose they are."""

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_gateway import errors
from signalbox_gateway.bytes_proxy import Place
from signalbox_gateway.routes.here import Sender, in_project_of


class GitBody(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


AtRepository = Annotated[
    Sender,
    in_project_of(
        "git",
        "repository_id",
        lambda found: contract.FindRepository(repository=found),
        errors.RepositoryNotFound,
    ),
]
"""Below `/repositories/{repository_id}`."""

AtPullRequest = Annotated[
    Sender,
    in_project_of(
        "git",
        "pull_request_id",
        lambda found: contract.FindPullRequest(pull_request=found),
        errors.PullRequestNotFound,
    ),
]
"""Below `/pull-requests/{pull_request_id}`."""

AtDelivery = Annotated[
    Sender,
    in_project_of(
        "git", "delivery_id", lambda found: contract.FindDelivery(delivery=found), errors.DeliveryNotFound
    ),
]
"""Below `/deliveries/{delivery_id}`."""

AtGitCredential = Annotated[
    Sender,
    in_project_of(
        "git",
        "credential_id",
        lambda found: contract.FindGitCredential(credential=found),
        errors.CredentialNotFound,
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
