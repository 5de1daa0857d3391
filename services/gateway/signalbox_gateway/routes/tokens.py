"""One's own API tokens."""

import uuid

from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import Here
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/auth/tokens", "auth")


@routes.on("POST", "", contract.CreateToken, status=201)
async def create_token(here: Here, body: contract.CreateToken) -> Response:
    """`token` is in this answer, and never shown again. No scopes: all that its holder may."""
    return await here.send(body)


@routes.on("GET", "", contract.ListTokens)
async def list_tokens(here: Here) -> Response:
    return await here.send(contract.ListTokens())


@routes.on("DELETE", "/{token_id}", contract.RevokeToken)
async def revoke_token(here: Here, token_id: uuid.UUID) -> Response:
    return await here.send(contract.RevokeToken(token_id=token_id))
