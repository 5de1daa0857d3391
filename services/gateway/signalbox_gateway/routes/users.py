"""Users, for administrators."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import Here
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/users", "users")


class UserChange(BaseModel):
    """Whatever is given is set; `active: false` ends every session and token of the user at once."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    email: contract.Email | None = None
    display_name: contract.DisplayName | None = None
    role: contract.PlatformRole | None = None
    active: bool | None = None


@routes.on("GET", "", contract.ListUsers)
async def list_users(here: Here, page: Annotated[contract.ListUsers, Query()]) -> Response:
    """Newest first; `q` looks in names and addresses."""
    return await here.send(page)


@routes.on("GET", "/{user_id}", contract.GetUser)
async def get_user(here: Here, user_id: uuid.UUID) -> Response:
    return await here.send(contract.GetUser(user_id=user_id))


@routes.on("PATCH", "/{user_id}", contract.UpdateUser)
async def update_user(here: Here, user_id: uuid.UUID, body: UserChange) -> Response:
    return await here.send(contract.UpdateUser(user_id=user_id, **body.model_dump()))


@routes.on("DELETE", "/{user_id}", contract.UpdateUser, status=204)
async def deactivate_user(here: Here, user_id: uuid.UUID) -> Response:
    """Users are never removed, for the audit log's sake: they are deactivated, and can be activated again."""
    return await here.send(contract.UpdateUser(user_id=user_id, active=False))
