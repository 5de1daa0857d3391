"""Users, for administrators."""

import uuid
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import (
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    errors,
    passed_on,
    router,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/users", "users")


class UserChange(BaseModel):
    """Whatever is given is set; `active: false` ends every session and token of the user at once."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    email: contract.Email | None = None
    display_name: contract.DisplayName | None = None
    role: contract.PlatformRole | None = None
    active: bool | None = None


@routes.get("", response_model=contract.UserPage, responses=errors(401, 403, 422, 503))
async def list_users(
    asker: CurrentAsker, clients: ClientsHere, page: Annotated[contract.ListUsers, Query()]
) -> Response:
    """Newest first; `q` looks in names and addresses."""
    return passed_on(await clients.query(asker, page))


@routes.get("/{user_id}", response_model=contract.ManagedUser, responses=errors(401, 403, 404, 422, 503))
async def get_user(user_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.GetUser(user_id=user_id)))


@routes.patch(
    "/{user_id}",
    response_model=contract.ManagedUser,
    responses=ACCEPTED | errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def update_user(
    user_id: uuid.UUID,
    request: Request,
    body: UserChange,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    command = contract.UpdateUser(user_id=user_id, **body.model_dump())
    return await clients.command(request, asker, command, status=200)


@routes.delete(
    "/{user_id}", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 409, 422, 503)
)
async def deactivate_user(
    user_id: uuid.UUID, request: Request, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    """Users are never removed, for the audit log's sake: they are deactivated, and can be activated again."""
    command = contract.UpdateUser(user_id=user_id, active=False)
    return await clients.command(request, asker, command, status=204)
